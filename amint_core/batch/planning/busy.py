"""Whether other work keeps this machine busy: what is measured beside it is too slow."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

#: Share of the machine that others may take and leave it quiet; an idle system takes less.
_QUIET = 0.1


def share(seconds: float = 1.0) -> float:
    """Return the share of all cores (0 to 1) in use while this process and its own rest."""
    return psutil.cpu_percent(interval=seconds) / 100


def warning(shares: Iterable[float]) -> str:
    """Say that others took much of the machine in one of some looks at it; "" if none did."""
    most = max(shares, default=0.0)
    return f"; the machine was BUSY (other work took {most:.0%} of it)" * (most > _QUIET)
