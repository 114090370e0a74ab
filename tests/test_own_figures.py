"""What docs/own_model.md concludes from results/audit holds; test_readme.py compares numbers."""

from __future__ import annotations

import pytest
from said_of_audit import table
from said_of_own_models import rows_of

from amint_core.locations import project_root
from benchmarks.outsiders import Tutorial

PAGE = (project_root() / "docs" / "own_model.md").read_text(encoding="utf-8")


def test_a_head_wants_width_and_steps_and_gets_them_by_itself() -> None:
    heads = rows_of("attach").set_index(["head_width", "head_epochs"])["tpr at 0.01"]
    narrow, wide, own = heads["16", "60"], heads["32", "60"], heads["auto", "auto"]
    assert wide > heads["32", "10"]
    assert wide > narrow
    assert own == pytest.approx(wide, abs=0.02)
    assert own > 0.9


def test_a_head_recognises_more_of_a_small_model_afterwards_than_beside_it() -> None:
    heads = table("own_heads").set_index("verb")["tpr at 0.01"]
    assert heads["fit"].max() < 0.3 < heads["fit, then attach"]


def test_the_page_counts_the_tutorial_nets_parameters() -> None:
    count = sum(one.numel() for one in Tutorial().parameters())
    assert f"tutorial net ({count:,} parameters)" in PAGE


def test_a_model_of_a_plain_loop_stays_as_it_is_and_its_members_are_recognised() -> None:
    rows = table("attached").set_index("model")
    assert "vit" in rows.index
    assert rows["weights unchanged"].all()
    assert (rows["auc"] > rows["loss auc"]).all()
    assert (rows["blind auc"] - 0.5).abs().max() < 0.05
    assert not rows["changed"].any()
