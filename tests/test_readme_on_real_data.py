"""README's verbs, as they stand there, on real images: whom they accuse, wrongly and rightly."""

from __future__ import annotations

import re

import numpy as np

from amint_core.audit import images as pictures
from amint_core.data import load
from amint_core.locations import project_root
from benchmarks.outsiders import Tutorial

NOMINAL = 0.01


def verbs() -> str:
    page = (project_root() / "README.md").read_text(encoding="utf-8")
    part = page.split("\n## Your own model, your own images\n")[1]
    return re.search(r"```python\n(.*?)```", part, re.S).group(1)


def test_the_verbs_of_the_readme_are_ten_lines_at_most():
    lines = verbs().strip().splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 100


def test_the_verdict_of_the_readme_holds_what_it_says_on_real_images(
    real_data, tmp_path, monkeypatch
):
    dataset = load("cifar10", progress=False)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(~dataset.official_test))
    pixels, labels = dataset.pixels[rows[:11_000]], dataset.labels[rows[:11_000]]
    strangers, others = np.split(dataset.pixels[rows[11_000:20_000]], [4_000])
    monkeypatch.chdir(tmp_path)
    pictures.write(strangers, "photos", "stranger")
    pictures.write(others, "surely_not_used")
    names = {"net": Tutorial(), "images": pixels, "labels": labels}
    head, rest = verbs().split("model.card()", 1)
    exec(head, names)
    pictures.write(names["roles"]["members"].pixels[:1_000], "photos", "member")
    exec("model.card()" + rest, names)
    found = names["found"]
    accused = names["is_member"][found.rows]
    member = np.array([name.startswith("member") for name in found.images.names])
    false, true = accused[~member].mean(), accused[member].mean()
    print(f"false-positive rate {false:.4f}, true-positive rate {true:.3f}")
    assert (member.sum(), (~member).sum()) == (1_000, 4_000)
    assert false <= 1.5 * NOMINAL
    # A member is found more often than a stranger is accused.
    assert true > 2 * NOMINAL
    assert (tmp_path / "report" / "report.html").is_file()
