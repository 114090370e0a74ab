"""Where classifier or list contradict the head: rates, words, and their place in reports."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from audit_folders import HOW, fill, pictures, recognises
from PIL import Image
from test_audit_report import Elements

import amint_core as amint
from amint_core.audit.audit import audit
from amint_core.audit.contradictions import LEVEL, MISSING, UNDECLARED
from amint_core.audit.fingerprints import Published
from amint_core.audit.scoring import score_all
from amint_core.audit.verdict import judge
from amint_core.errors import ModelError, ProtocolError
from amint_core.methods.posteriors import scaled_logits

SEEDS = range(20)


def draw(seed: int, declared: int, undeclared: int, strangers: int, references: int = 1000):
    """Return (head's scores, references') and (classifier's, references'); strangers come last."""
    random = np.random.default_rng(seed)
    kinds = np.repeat([0, 1, 2], [declared, undeclared, strangers])
    head, sure = random.normal(size=(2, len(kinds) + references))
    head[: len(kinds)] += 6.0 * (kinds == 0)
    sure[: len(kinds)] += 4.0 * (kinds < 2)
    return (head[: len(kinds)], head[len(kinds) :]), (sure[: len(kinds)], sure[len(kinds) :]), kinds


def test_what_the_head_denies_and_the_classifier_gives_away_is_possibly_undeclared() -> None:
    shares, least = [], []
    for seed in SEEDS:
        head, sure, kinds = draw(seed, declared=100, undeclared=100, strangers=800)
        verdict = judge(*head, posterior=sure)
        taken = verdict.contradictions.undeclared
        shares.append([taken[kinds == kind].mean() for kind in (0, 1, 2)])
        least.append(verdict.contradictions.least)
        assert f"{least[-1]} or more possibly undeclared" in verdict.headline
        said = verdict.statement("possibly undeclared")
        assert said.value == taken.sum()
        assert "chance does not explain it" in said.sentence
        assert {verdict.contradictions.of(index) for index in np.flatnonzero(taken)} == {UNDECLARED}
    declared, undeclared, strangers = np.mean(shares, axis=0)
    assert undeclared > 0.9
    assert strangers <= LEVEL
    assert declared <= LEVEL  # the head knows them
    assert np.mean(np.array(least) <= 100) >= 0.95
    assert np.median(least) > 70


def test_a_set_gives_itself_away_where_single_images_do_not() -> None:
    suspected, least = [], []
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        head, sure = random.normal(size=(2, 1500))
        sure[:300] = sure[:300] * 0.3 + 1.2  # surer than most strangers, than the surest hardly
        verdict = judge(head[:500], head[500:], posterior=(sure[:500], sure[500:]))
        suspected.append(verdict.contradictions.undeclared[:300].mean())
        least.append(verdict.contradictions.least)
        assert verdict.contradictions.chance < 1e-6
    assert np.mean(suspected) < 0.1
    assert np.median(least) > 100
    assert np.mean(np.array(least) <= 300) >= 0.95


def test_a_set_that_shows_no_number_is_not_said_to_hold_none_or_more() -> None:
    random = np.random.default_rng(2)
    head, sure = random.normal(size=(2, 500))
    sure[:200] += 0.3  # a little surer each: the ranks show it, and no tail does
    verdict = judge(head[:200], head[200:], posterior=(sure[:200], sure[200:]))
    assert verdict.contradictions.chance < 0.05
    assert verdict.contradictions.least == 0
    assert verdict.headline.endswith("; some possibly undeclared")
    said = verdict.statement("possibly undeclared").sentence
    assert "the classifier learnt some, of which it cannot be told how many" in said


def test_one_file_without_a_class_folder_is_said_to_take_the_true_classes_away(tmp_path) -> None:
    random = np.random.default_rng(0)
    queries, references = (random.integers(0, 256, (120, 8, 8, 3), dtype=np.uint8) for _ in "ab")
    for folder, pixels in (("in", queries), ("out", references)):
        for number, image in enumerate(pixels):
            (tmp_path / folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / folder / str(number % 2) / f"{number}.png")
    how = {"preprocessing": amint.Preprocessing(8, 8), "classify": lambda batch: batch.flatten(1)}
    asked = (lambda batch: batch.mean((1, 2, 3))), tmp_path / "in", tmp_path / "out"
    found = audit(*asked, **how)
    assert found.verdict.contradictions.true_classes
    assert "by their true classes" in found.verdict.statement("possibly undeclared").sentence
    assert not any("named after a class" in said for said in found.warnings)
    Image.fromarray(queries[0] // 2).save(tmp_path / "in" / "stray.png")
    found = audit(*asked, **how)
    assert "by the classes that it predicts" in (
        found.verdict.statement("possibly undeclared").sentence
    )
    assert any("1 of 121 images are in no folder named after" in said for said in found.warnings)


def test_declared_members_whom_a_weak_head_denies_are_not_said_to_be_hidden() -> None:
    random = np.random.default_rng(0)
    head, sure = random.normal(size=(2, 2000))
    head[:300] += 1.0  # all declared: the classifier knows them, the head a part of them
    sure[:300] += 3.0
    sides = (head[:600], head[600:]), (sure[:600], sure[600:])
    verdict = judge(*sides[0], posterior=sides[1], members=random.normal(1.0, size=500))
    overlooked = verdict.contradictions.overlooked
    assert 0.8 < overlooked < 0.95
    said = verdict.statement("possibly undeclared").sentence
    assert f"of the known members it denies {overlooked:.1%} as well" in said
    verdict = judge(*sides[0], posterior=sides[1])
    said = verdict.statement("possibly undeclared").sentence
    assert "or are declared members that it does not recognise. Ask" in said


def test_of_strangers_no_more_than_chance_brings_are_suspected() -> None:
    verdicts = []
    for seed in SEEDS:
        head, sure, _ = draw(seed, declared=50, undeclared=0, strangers=500)
        verdicts.append(judge(*head, posterior=sure))
    assert sum(UNDECLARED in verdict.headline for verdict in verdicts) <= 2
    quiet = [each for each in verdicts if UNDECLARED not in each.headline]
    for verdict in quiet:
        sentence = verdict.statement("possibly undeclared").sentence
        assert "do not differ from strangers as a whole" in sentence
        assert "no sign that nothing was left out" in sentence
    assert verdicts[0].contradictions.expected == pytest.approx(550 * 10 / 1001)


def test_the_chance_of_so_many_is_that_of_strangers() -> None:
    chances = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        (head, sure), (of_head, of_sure) = (
            random.normal(size=(2, 200)),
            random.normal(size=(2, 300)),
        )
        verdict = judge(head, of_head, posterior=(sure, of_sure))
        chances.append(verdict.contradictions.chance)
    assert np.mean(np.array(chances) <= 0.05) <= 0.05 + 0.025  # two deviations of 300 draws


def test_a_member_that_the_list_lacks_is_missing_from_it() -> None:
    head, _, kinds = draw(0, declared=100, undeclared=0, strangers=300)
    listed = np.arange(len(kinds)) < 60
    verdict = judge(*head, listed=listed)
    missing = verdict.contradictions.missing
    assert np.array_equal(missing, verdict.accused & ~listed)
    assert 40 <= missing.sum() <= 40 + verdict.accused[kinds == 2].sum()
    assert verdict.contradictions.of(int(np.flatnonzero(missing)[0])) == MISSING
    assert "are missing from the list" in verdict.statement("missing from the list").sentence


def test_without_a_fitting_reference_nothing_is_suspected() -> None:
    head, sure, _ = draw(0, declared=0, undeclared=100, strangers=300)
    statistics = np.zeros((400, 9)), np.ones((1000, 9))
    of = {"statistics": statistics[0], "of_reference": statistics[1]}
    verdict = judge(*head, posterior=sure, **of)
    assert not verdict.fit.holds
    assert not verdict.contradictions.undeclared.any()
    assert verdict.statement("possibly undeclared") is None


def test_too_few_references_for_a_suspicion_are_said() -> None:
    head, sure, _ = draw(0, declared=0, undeclared=100, strangers=100, references=98)
    verdict = judge(*head, posterior=sure)
    assert not verdict.contradictions.undeclared.any()
    assert "it takes 99 or more" in verdict.statement("possibly undeclared").sentence
    head, sure, _ = draw(0, declared=0, undeclared=100, strangers=100, references=99)
    assert judge(*head, posterior=sure).contradictions.undeclared.any()


def test_a_classifier_without_numbers_is_refused() -> None:
    head, sure, _ = draw(0, declared=0, undeclared=0, strangers=100)
    with pytest.raises(ProtocolError, match="no finite numbers"):
        judge(*head, posterior=(sure[0] * np.nan, sure[1]))


# From a folder to a report.

DECLARED, LEFT_OUT, STRANGERS = pictures(1, 40), pictures(2, 40), pictures(3, 120)


def classifies(members: np.ndarray):
    """Return a classifier of two classes that is very sure of its members."""
    known = recognises(members)

    def classify(batch: torch.Tensor) -> torch.Tensor:
        sure = known(batch)
        return torch.stack([sure, -sure], dim=1)

    return classify


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    parts = {"declared": DECLARED, "undeclared": LEFT_OUT, "stranger": STRANGERS}
    for name, pixels in parts.items():
        fill(folder, pixels, name)
    return audit(
        recognises(DECLARED),
        folder,
        pictures(4, 800),
        preprocessing=HOW,
        published=Published.of(DECLARED[:30]),
        classify=classifies(np.concatenate([DECLARED, LEFT_OUT])),
    )


def test_the_table_has_a_column_for_contradictions(found, tmp_path) -> None:
    found.save(tmp_path)
    with open(tmp_path / "images.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    said = [(row["file"].split("-")[0], row["decision"], row["contradiction"]) for row in rows]
    assert said.count(("declared", "member", MISSING)) == 10
    assert said.count(("declared", "member", "")) == 30
    assert said.count(("undeclared", "cannot tell", UNDECLARED)) >= 36
    assert said.count(("stranger", "cannot tell", UNDECLARED)) <= 4
    assert all(0 < float(row["p_classifier"]) <= 1 for row in rows)


def test_the_report_shows_them_and_never_says_that_nothing_was_left_out(found, tmp_path) -> None:
    said = " ".join(Elements(found.save(tmp_path).read_text(encoding="utf-8")).text.split())
    assert "Contradictions" in said
    assert "of strangers one in a hundred looks like that, too" in said
    assert "An image without a contradiction may have been left out all the same." in said
    for statement in found.verdict.statements:
        assert statement.sentence in said
    # Wherever the words stand, they are denied.
    for before, _ in zip(said.split("nothing was left out")[:-1], SEEDS, strict=False):
        assert before.endswith(("no sign that ", "never says that "))


def test_an_audit_without_contradictions_shows_none(tmp_path) -> None:
    quiet = audit(recognises(DECLARED), DECLARED, pictures(4, 300), preprocessing=HOW)
    assert "Contradictions" not in quiet.save(tmp_path).read_text(encoding="utf-8")
    assert quiet.verdict.contradictions.p is None


def test_folders_of_classes_name_the_true_labels(tmp_path) -> None:
    pixels = pictures(5, 30)
    logits = classifies(pixels)(HOW.normalise(pixels)).numpy()
    for name, part in {"0": pixels[:10], "cat": pixels[10:20], "else": pixels[20:]}.items():
        fill(tmp_path / name, part)
    of = {"classify": classifies(pixels), "classes": ("dog", "cat")}
    scored = score_all(recognises(pixels), tmp_path, HOW, **of)
    expected = scaled_logits(logits, np.repeat([0, 1, 0], 10))
    assert scored.of_label[:20] == pytest.approx(expected[:20])
    assert np.isnan(scored.of_label[20:]).all()
    assert scored.sureness == pytest.approx(scaled_logits(logits, logits.argmax(1)))


def test_true_labels_count_where_all_images_have_one(tmp_path) -> None:
    pixels = pictures(6, 200)
    asked, other = fill(tmp_path / "in" / "0", pixels[:80]), tmp_path / "reference"
    fill(other / "1", pixels[80:])
    of = {"preprocessing": HOW, "classify": classifies(pixels)}
    known, unknown = (
        audit(recognises(pixels[:0]), place, other, **of) for place in (asked.parent, asked)
    )
    # Class 0 is right for all in question, class 1 wrong for all references.
    assert (known.verdict.contradictions.p == 1 / 121).all()
    assert not (unknown.verdict.contradictions.p == 1 / 121).all()


def test_a_classifier_of_another_form_is_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(3, 1\) for 3 images.*two classes"):
        score_all(recognises(DECLARED), DECLARED[:3], HOW, classify=lambda batch: torch.zeros(3, 1))


# Shadow models.

#: Easy and hard images of the same kind: how sure all models are of one follows from its pixels.
ASKED, USED, OTHERS = pictures(11, 200), slice(0, 60), pictures(12, 800)


def model_of(members: np.ndarray, number: int = 0):
    """Return a classifier of two classes that is surer of easy images, and of its members."""
    known = recognises(members)

    def classify(batch: torch.Tensor) -> torch.Tensor:
        random = torch.Generator().manual_seed(number)
        pixels = batch.double().flatten(1)
        ease = 20 * torch.cos(pixels.mean(1) * 40)
        own = 0.3 * torch.cos(pixels @ torch.randn(pixels.shape[1], generator=random).double())
        gain = known(batch) * (known(batch) > 3.5)  # nothing of the noise of strangers
        sure = ease + own + gain * ease.sign()
        return torch.stack([sure, -sure], dim=1)

    return classify


def asked_with(*shadows, reference: np.ndarray = OTHERS, members: np.ndarray = ASKED[USED]):
    return audit(
        recognises(ASKED[:0]),
        ASKED,
        reference,
        preprocessing=HOW,
        classify=model_of(members),
        shadows=shadows,
    ).verdict


def test_shadow_models_take_off_how_easy_an_image_is() -> None:
    alone = asked_with().contradictions.undeclared
    verdict = asked_with(*(model_of(ASKED[:0], number) for number in (1, 2, 3)))
    beside = verdict.contradictions.undeclared
    assert alone[USED].mean() < 0.5
    assert beside[USED].mean() > 0.8
    assert beside[60:].mean() <= 3 * LEVEL
    assert "surer of them than the 3 shadow models" in (
        verdict.statement("possibly undeclared").sentence
    )


def test_shadow_models_suspect_no_stranger_more_often() -> None:
    verdict = asked_with(model_of(ASKED[:0], 1), members=ASKED[:0])
    assert verdict.contradictions.undeclared.mean() <= 3 * LEVEL
    assert verdict.contradictions.chance > 0.001


@pytest.mark.parametrize("learnt", [OTHERS, ASKED], ids=["references", "questions"])
def test_a_shadow_model_that_learnt_one_of_the_folders_is_noticed(learnt) -> None:
    verdict = asked_with(model_of(learnt, 1), members=ASKED[:0])
    assert "sureness of the shadow models" in [each.name for each in verdict.fit.differences]
    assert not verdict.contradictions.undeclared.any()


def test_shadow_models_of_other_classes_are_refused() -> None:
    with pytest.raises(ModelError, match="Shadow model 2 knows 3 classes, the classifier 2"):
        asked_with(model_of(ASKED[:0]), lambda batch: torch.zeros(len(batch), 3))


def test_shadow_models_need_images_of_strangers() -> None:
    with pytest.raises(ProtocolError, match="reference of your own"):
        asked_with(model_of(ASKED[:0]), reference=np.zeros(800))


def test_chance_holds_where_the_head_accuses_many_and_disagrees_with_the_classifier() -> None:
    chances, least = [], []
    for seed in range(200):
        random = np.random.default_rng(seed)
        shape = [[1.0, -0.5], [-0.5, 1.0]]  # what the head takes for members is classified unsurely
        strangers = random.multivariate_normal([0, 0], shape, 200)
        references = random.multivariate_normal([0, 0], shape, 1000)
        members = random.normal([8, 0], size=(800, 2))
        head, sure = np.concatenate([members, strangers]).T
        verdict = judge(head, references[:, 0], 0.2, posterior=(sure, references[:, 1]))
        chances.append(verdict.contradictions.chance)
        least.append(verdict.contradictions.least)
    assert np.mean(np.array(chances) <= 0.05) <= 0.05 + 0.03  # two deviations of 200 draws
    assert np.mean(np.array(least) > 0) <= 0.05 + 0.03
