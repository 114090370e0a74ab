"""What auditability costs: the weight λ of the MINT loss against accuracy and recognition."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import nn

from amint_core.errors import ModelError, SettingsError
from amint_core.extras import require
from amint_core.locations import given_path
from amint_core.own.fit import fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of the figures beside λ: column → where it stands in a card.
MEASURES = {
    "audited accuracy": ("audited", "accuracy"),
    "MINT AUC": ("mint", "auc"),
    "TPR at 1 % FPR": ("mint", "tpr_at_fpr", "0.01"),
}


@dataclass(frozen=True)
class Tradeoff:
    """λ against audited accuracy and MINT figures.

    Attributes:
        table: one row per λ and measure: `lambda_mint`, `measure`, `value`, `low`, `high`. λ = 0
            trains the classifier beside a head that learns nothing, so it has no MINT figures.
    """

    table: pd.DataFrame

    def wide(self) -> pd.DataFrame:
        """Return one row per λ and a column per measure."""
        return self.table.pivot(index="lambda_mint", columns="measure", values="value")[
            list(MEASURES)
        ]

    def figure(self) -> Figure:
        """Draw the measures over λ, with their intervals."""
        require("notebooks", "matplotlib")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(5.2, 3.2), dpi=110, layout="constrained")
        pyplot.close(figure)
        names = [f"{one:g}" for one in sorted(self.table["lambda_mint"].unique())]
        for measure, rows in self.table.dropna(subset="value").groupby("measure", sort=False):
            places = [names.index(f"{one:g}") for one in rows["lambda_mint"]]
            spread = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
            axes.errorbar(places, rows["value"], spread, marker="o", capsize=2, label=measure)
        axes.set_xticks(range(len(names)), names)
        axes.set(xlabel="λ of the MINT loss", ylim=(-0.02, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        return figure


def tradeoff(
    model: nn.Module,
    members: Any,
    external: Any,
    calibration: Any,
    holdout: Any,
    *,
    lambdas: Sequence[float] = (0.0, 0.1, 1.0, 10.0),
    folder: Path | str | None = None,
    **settings: Any,
) -> Tradeoff:
    """Train the model once for each weight of the MINT loss, and compare.

    Each training starts from the weights given, which stay as they are.

    Args:
        model, members, external, calibration, holdout, settings: see `fit`.
        lambdas: weights of the MINT loss beside 1 of the classifier's.
        folder: each model goes into a folder in it, named after its λ; cut off, the same call goes
            on.

    Raises:
        ModelError: the model cannot be copied, or not trained.
        SettingsError: there is no λ, one is given twice, or λ or a control is among the settings.
    """
    if holdout is None:
        raise SettingsError("A trade-off is judged on strangers: give holdout=….")
    lambdas = np.atleast_1d(lambdas).tolist()
    numbers = all(isinstance(one, int | float) for one in lambdas)
    if not numbers or not lambdas or len(set(lambdas)) != len(lambdas) or "lambda_mint" in settings:
        raise SettingsError(f"lambdas = {list(lambdas)}: give different weights of the MINT loss.")
    if "control" in settings:
        raise SettingsError("λ = 0 is the control of a tradeoff. Leave `control` out.")
    roles = {"members": members, "external": external, "calibration": calibration}
    rows = []
    for weight in lambdas:
        try:
            own = deepcopy(model)
        except RuntimeError as error:  # as of torch.nn.utils.weight_norm and prune
            raise ModelError(
                f"The model cannot be copied, which each λ needs ({error!s:.100}). Take "
                "weight_norm from torch.nn.utils.parametrizations, and end pruning by prune.remove."
            ) from error
        place = None if folder is None else given_path(folder) / f"lambda-{weight:g}"
        made = fit(own, **roles, holdout=holdout, folder=place, lambda_mint=weight, **settings)
        rows += [
            {"lambda_mint": weight, "measure": measure, **_figure_of(made.card, path, weight)}
            for measure, path in MEASURES.items()
        ]
    return Tradeoff(pd.DataFrame(rows))


def _figure_of(card: dict[str, Any], path: tuple[str, ...], weight: float) -> dict[str, Any]:
    if path[0] == "mint" and not weight:
        return {"value": None, "low": None, "high": None}
    found = card
    for key in path:
        found = found[key]
    return {key: found[key] for key in ("value", "low", "high")}
