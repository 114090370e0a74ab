"""What docs/audit.md says of real images and of replays follows from results/audit, and holds."""

from __future__ import annotations

import pytest
from said_of_audit import LINES, answered, of_hidden_in_readme, table

from amint_core.locations import project_root

PAGE = (project_root() / "docs" / "audit.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("lines", LINES)
def test_every_measured_line_stands_in_the_page(lines) -> None:
    for line in lines():
        assert line in PAGE


def test_readme_says_what_becomes_of_hidden_members() -> None:
    readme = (project_root() / "README.md").read_text(encoding="utf-8")
    for line in of_hidden_in_readme():
        assert line in readme


def test_tampered_trainings_are_caught_and_honest_ones_are_not_accused() -> None:
    rows = table("replays_summary").set_index("training")
    assert (rows["trainings"] >= 20).all()
    assert rows.loc["honest", "accused"] == 0
    others = rows.drop("honest")
    assert (others["caught_when_drawn"] == others["trainings"]).all()
    assert (others["accused_when_not_drawn"] == 0).all()
    assert (others["caught_by_lot"] == others["drawn"]).all()


def test_verdicts_hold_their_rates_on_real_images() -> None:
    rows = table("draws")
    assert len(rows) == 20
    # One in twenty is below .05 by chance; three or fewer in 98 of 100 such experiments.
    assert (rows["uniform"] <= 0.05).sum() <= 3
    assert set(rows["10 members: headline"]) == {"cannot tell, floor 20"}
    for members in (50, 150):
        assert rows[f"{members} members: wrong share"].mean() <= 0.05
        assert rows[f"{members} members: bound holds"].mean() >= 0.95


def test_strangers_that_look_otherwise_are_not_accused_too_often() -> None:
    rows = table("kinds")
    assert rows.groupby(["images", "reference"]).size().eq(20).all()
    for (_, reference), each in rows.groupby(["images", "reference"]):
        judged = each[~each["another kind"]]
        factor = 1.2 if reference == "of the same kind" else 2.0
        for level in (0.01, 0.05):
            if len(judged):
                assert judged[f"p at most {level}"].mean() <= factor * level
        if reference == "of the same kind":
            assert len(judged) == len(each)


def test_hidden_members_are_suspected_and_strangers_hardly() -> None:
    rows = table("hidden")
    assert rows.groupby(["owner", "shadows", "class"]).size().eq(3).all()
    rows = answered()
    assert rows["asked: possibly undeclared"].mean() <= 0.01 + 0.005
    assert rows["at least"].between(0.7 * rows["hidden members"], rows["hidden members"]).all()
    assert (rows["chance"] < 1e-50).all()


def test_shadow_models_find_several_times_as_many_and_accuse_no_more_strangers() -> None:
    means = answered().groupby(["shadows", "class"]).mean(numeric_only=True)
    for known, (least, most) in {"predicted": (1.8, 2.5), "true": (4.0, 8.0)}.items():
        alone, beside = (means.loc[(count, known)] for count in (0, 8))
        gain = beside["hidden: possibly undeclared"] / alone["hidden: possibly undeclared"]
        assert least < gain < most
        assert beside["asked: possibly undeclared"] < alone["asked: possibly undeclared"] + 0.002
