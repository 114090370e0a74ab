"""Lists of what members look like: what they find, whom they leave alone, what they take."""

import numpy as np
import pytest
import torch
from made_case import auc_of, made_case, structured_images

from amint_core.data.perceptual import NEAR, perceptual_hashes
from amint_core.locations import project_root
from amint_core.methods import METHODS, lookalikes

SIZES = {"members": 60, "external": 20, "calibration": 40, "holdout": 60}
ROOT = project_root()


def case_of(side: int = 32):
    """Return a case of smooth images with detail everywhere, as photographs have."""
    random, count = np.random.default_rng(3), sum(SIZES.values())
    coarse = structured_images(count, 1, side).astype(float)
    fine = random.normal(0, 40, (count, side // 4, side // 4, 3)).repeat(4, 1).repeat(4, 2)
    return made_case(SIZES, (coarse + fine).clip(0, 255).astype(np.uint8))


def auc_after(method: str, transformation: str) -> float:
    case = case_of().after(transformation, judged_only=True)
    return auc_of(case, METHODS[method].score(case))["value"]


@pytest.mark.parametrize("transformation", ["exact", "flip", "resize", "jpeg", "noise"])
@pytest.mark.parametrize("method", ["lookup_perceptual", "lookup_windows"])
def test_lists_find_what_leaves_the_picture_in_its_place(method, transformation):
    assert auc_after(method, transformation) > 0.97


@pytest.mark.parametrize("transformation", ["shift", "crop"])
def test_windows_find_what_moves_the_picture(transformation):
    assert auc_after("lookup_windows", transformation) > 0.97


def test_distances_are_in_float64_on_the_cpu_alone(monkeypatch):
    """Apple's GPUs have no float64."""
    called = []

    def recorded(name, call):
        return lambda values: called.append(name) or call(values)

    for name in ("cpu", "double"):
        monkeypatch.setattr(torch.Tensor, name, recorded(name, getattr(torch.Tensor, name)))
    lookalikes.windows(case_of())
    assert called == ["cpu", "double"]


def test_perceptual_scores_count_bits_and_accuse_at_a_published_distance():
    case = case_of()
    scores = lookalikes.perceptual(case)
    assert set(scores[case.member]) == {NEAR + 0.5}
    listed = perceptual_hashes(case.pixels(np.flatnonzero(case.member)))
    stranger = np.flatnonzero(~case.member)[0]
    views = [case.pixels(np.array([stranger]))[:, :, :: (1, -1)[turned]] for turned in (0, 1)]
    bits = [
        min(bin(int(perceptual_hashes(view)[0]) ^ int(one)).count("1") for one in listed)
        for view in views
    ]
    assert scores[stranger] == NEAR + 0.5 - min(bits)


def test_lists_are_the_owners_not_those_of_the_table():
    case = case_of()
    truth = case.member.copy()
    case.images["member"] = ~truth
    for method in ("lookup_perceptual", "lookup_windows"):
        scores = METHODS[method].score(case)
        assert scores[truth].min() > scores[~truth].max()


def test_the_page_says_how_many_bytes_a_member_takes():
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    section = text.split("## Lists of members")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ")[:2] for line in section.splitlines() if line[:1] == "|"]
    printed = {name.split(",")[0].split(" (")[0]: bytes_ for name, bytes_ in rows[2:]}
    image = np.zeros((1, 32, 32, 3), np.uint8)
    assert printed == {
        "content hash": str(len(bytes.fromhex(case_of().images["image"][0]))),
        "perceptual hash": str(perceptual_hashes(image).nbytes),
        "thumbnail": str(lookalikes._SIDE**2 * 3),
        "pixels": f"{image.nbytes:,}",
    }
