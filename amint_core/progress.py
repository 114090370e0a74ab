"""The progress bar, in terminals and in notebooks."""

from __future__ import annotations

import os
from typing import Any

from tqdm.auto import tqdm


def progress_bar(*given: Any, shown: bool = True, **settings: Any) -> tqdm:
    """Return tqdm's bar for where it is shown, or a silent one.

    `TQDM_DISABLE` silences it in notebooks as well, where tqdm's own bar takes no notice: a bar in
    a committed notebook would be a widget that no reader can see.
    """
    silent = not shown or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    # Of processes that work together, the first speaks for all.
    silent |= os.environ.get("RANK", "0") != "0"
    return tqdm(*given, disable=silent, **settings)
