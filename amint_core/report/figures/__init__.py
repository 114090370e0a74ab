"""The figures of a profile, one small file each, and those of one run.

A new one of a profile is a file with its `FIGURE`, listed here.
"""

from __future__ import annotations

from amint_core.report.figures import (
    agreement,
    beside_paper,
    class_difficulty,
    frontier,
    image_difficulty,
    lambda_curves,
    methods,
    roc_by_dataset,
    roc_by_method,
    setup_effect,
    transformations,
)
from amint_core.report.registry import Drawing

#: Name → figure, in the order in which they are written.
FIGURES: dict[str, Drawing] = {
    one.name: one
    for one in (
        beside_paper.FIGURE,
        setup_effect.FIGURE,
        roc_by_dataset.FIGURE,
        methods.FIGURE,
        roc_by_method.FIGURE,
        agreement.FIGURE,
        class_difficulty.FIGURE,
        image_difficulty.FIGURE,
        transformations.FIGURE,
        frontier.FIGURE,
        lambda_curves.FIGURE,
    )
}
