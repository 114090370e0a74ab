"""Marks in published images: exact for any model that never saw them, and found in one that did."""

import json
import math
from hashlib import sha256
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import nn

from amint_core.audit.auditable import AuditableModel
from amint_core.audit.marks import Marks, _at_most, mark, p_of_ranks, trace
from amint_core.audit.preprocessing import Preprocessing
from amint_core.errors import DataError, ModelError, SettingsError
from amint_core.methods.posteriors import cross_entropy

KEY = bytes(range(32))
SMALL = {"versions": 16, "amplitude": 6, "cell": 2}


def key(number: int) -> bytes:
    return sha256(str(number).encode()).digest()


def images(count: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def labels(count: int = 8) -> np.ndarray:
    return np.arange(count) % 4


def net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(8 * 8 * 3, 32), nn.ReLU(), nn.Linear(32, 4)
        ).eval()


def traces(model, originals, keys: int, groups=None, **how):
    """Ask a model that saw nothing for the marks of many keys."""
    given = labels(len(originals))
    for number in range(keys):
        marks = mark(originals, key(number), groups=groups, **SMALL)
        yield trace(model, marks, originals, given, **how)


# What the p-value means.


@pytest.mark.parametrize(("count", "versions"), [(4, 3), (3, 5), (6, 2)])
def test_p_is_the_share_of_all_outcomes_with_ranks_as_low(count, versions):
    outcomes = np.array(list(product(range(1, versions + 1), repeat=count)))
    for ranks in outcomes[:: len(outcomes) // 20]:
        expected = (outcomes.sum(1) <= ranks.sum()).mean()
        assert p_of_ranks(ranks.tolist(), versions) == pytest.approx(expected, rel=1e-12)


def test_p_of_many_ranks_is_that_of_the_normal_limit_and_never_nothing():
    ranks, n, versions = [15] * 400, 400, 32
    deviation = np.sqrt(n * (versions**2 - 1) / 12)
    near = stats.norm.cdf((sum(ranks) + 0.5 - n * (versions + 1) / 2) / deviation)
    assert p_of_ranks(ranks, versions) == pytest.approx(near, rel=0.02)
    assert p_of_ranks([versions] * 5, versions) == 1.0
    assert p_of_ranks([1] * 9, versions) == pytest.approx(32.0**-9)
    assert 0 < p_of_ranks([1] * 400, versions) < 1e-300


def test_every_version_is_drawn_as_often_as_any_other():
    chosen = [mark(images(1), key(number), versions=20).choice("image") for number in range(4000)]
    assert stats.chisquare(np.bincount(chosen, minlength=20)).pvalue > 0.01


@pytest.mark.parametrize("how", [{"mirrored": True}, {"mirrored": False}])
def test_p_is_uniform_on_a_model_that_never_saw_a_mark(how):
    found = list(traces(net(), images(), 300, **how))
    p = np.array([one.p for one in found])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    for alpha in (0.01, 0.05, 0.2, 0.5):
        assert (p <= alpha).mean() <= alpha + 3 * np.sqrt(alpha / len(p))
    ranks = [rank for one in found for rank in one.ranks.values()]
    counts = np.bincount(ranks, minlength=17)[1:]
    assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize(
    "losses",
    [lambda pixels, of: np.zeros(len(pixels)), lambda pixels, of: pixels.mean((1, 2, 3)).round(-1)],
    ids=["always the same", "a few values"],
)
def test_equal_losses_leave_it_exact(losses):
    found = list(traces(losses, images(), 300))
    assert stats.kstest([one.p for one in found], "uniform").pvalue > 0.01


def test_images_that_look_alike_leave_it_exact_and_equal_ones_count_once():
    alike = np.repeat(images(1), 8, 0)
    alike[np.arange(8), 0, 0, 0] = np.arange(8)
    found = [one.p for one in traces(net(), alike, 200)]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    (equal,) = traces(net(), np.repeat(images(1), 8, 0), 1)
    assert len(equal.ranks) == 1


def test_a_model_that_saw_the_originals_or_marks_of_another_key_knows_no_draw():
    originals = images()
    other = mark(originals, key(10_000), **SMALL).publish(originals)
    for seen in (originals, other):
        model = learnt(seen, labels())
        p = [one.p for one in traces(model, originals, 200)]
        assert stats.kstest(p, "uniform").pvalue > 0.01


def test_images_of_a_group_share_one_draw_and_stay_exact():
    groups = labels()
    found = list(traces(net(), images(), 200, groups=groups))
    assert all(set(one.ranks) == {f"group {each}" for each in range(4)} for one in found)
    p = np.array([one.p for one in found])
    for alpha in (0.01, 0.05, 0.2, 0.5):
        assert (p <= alpha).mean() <= alpha + 3 * np.sqrt(alpha / len(p))


# What it finds.


def learnt(pixels: np.ndarray, of: np.ndarray) -> nn.Module:
    """Train a small net by heart."""
    model, how = net(1), Preprocessing(8, 8)
    inputs, targets = how.normalise(pixels), torch.from_numpy(of)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("groups", [None, labels(40)], ids=["by image", "by class"])
def test_a_model_that_learnt_the_published_versions_gives_them_away(groups):
    originals = images(40)
    marks = mark(originals, KEY, groups=groups, versions=16, amplitude=30, cell=2)
    given = marks, originals, labels(40)
    used, unused = learnt(marks.publish(originals), labels(40)), learnt(originals, labels(40))
    found = trace(used, *given)
    assert found.p < 1e-4
    assert found.mean_rank < 0.3
    assert trace(unused, *given).p > 1e-3


def test_losses_posteriors_and_the_model_itself_say_the_same():
    originals, given = images(), labels()
    marks, model, how = mark(originals, KEY, **SMALL), net(), Preprocessing(8, 8, mean=(0.4,))

    def losses(pixels, of):
        with torch.no_grad():
            return cross_entropy(model(how.normalise(pixels)).numpy(), of)

    handed_out = AuditableModel(SimpleNamespace(audited=model), how, calibration=None)
    found = [
        trace(one, marks, originals, given, preprocessing=how)
        for one in (model, losses, handed_out)
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_larger_images_are_brought_to_the_models_size(channels):
    originals = images().repeat(2, 1).repeat(2, 2)[..., :channels]
    marks, how = mark(originals, KEY, **SMALL), Preprocessing(8, 8, channels)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 4)).eval()

    def losses(pixels, of):
        small = [how.apply(Image.fromarray(one.squeeze())) for one in pixels]
        with torch.no_grad():
            return cross_entropy(model(how.normalise(np.stack(small))).numpy(), of)

    given = marks, originals, labels()
    assert trace(model, *given, preprocessing=how) == trace(losses, *given)


def test_a_model_in_training_mode_is_asked_in_evaluation_and_put_back():
    model = nn.Sequential(net(), nn.Dropout(0.5)).train()
    marks = mark(images(), KEY, **SMALL)
    found = [trace(model, marks, images(), labels()) for _ in range(2)]
    assert found[0] == found[1]
    assert model.training


# What is published.


def test_the_key_decides_what_is_published():
    originals = images()
    one, again, other = (mark(originals, each, **SMALL) for each in (KEY, KEY, key(1)))
    assert one == again
    assert np.array_equal(one.publish(originals), again.publish(originals))
    assert not np.array_equal(one.publish(originals), other.publish(originals))
    assert mark(originals).key != mark(originals).key


def test_what_is_published_is_one_of_the_versions_and_near_the_original():
    originals = images(4)
    marks = mark(originals, KEY, **SMALL)
    changed = marks.publish(originals).astype(int) - originals
    assert np.abs(changed).max() == 6
    for image, published, draw in zip(
        originals, marks.publish(originals), marks.draws, strict=True
    ):
        versions = [marks.version(image, draw, number) for number in range(16)]
        assert len({one.tobytes() for one in versions}) == 16
        assert np.array_equal(versions[marks.choice(draw)], published)
    middle = np.full((3, 8, 8, 3), 128, np.uint8)  # nothing is cut off at 0 or 255
    assert mark(middle, KEY, **SMALL).psnr(middle) == pytest.approx(20 * np.log10(255 / 6))


def test_a_key_gives_the_same_versions_for_ever():
    originals = np.arange(2 * 7 * 5 * 3, dtype=np.uint8).reshape(2, 7, 5, 3)
    marks = mark(originals, KEY, versions=8, amplitude=5, cell=3)
    assert sha256(marks.publish(originals).tobytes()).hexdigest()[:16] == "dbbfed5f3b9cc200"
    assert marks.commitment[:16] == "f1812fd35d6caa72"


def test_marks_are_kept_for_the_owner_alone_and_checked_when_read(tmp_path, monkeypatch):
    marks, path = mark(images(), KEY, groups=labels(), **SMALL), tmp_path / "marks.json"
    marks.save(path)
    assert Marks.load(path) == marks
    monkeypatch.setenv("HOME", str(tmp_path))
    marks.save("~/again.json")  # a shell does not replace it after "="
    assert Marks.load(tmp_path / "again.json") == Marks.load("~/again.json") == marks
    assert path.stat().st_mode & 0o077 == 0
    record = json.loads(path.read_text())
    record["versions"] = 15
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match="is damaged, or holds no marks"):
        Marks.load(path)


def test_the_commitment_holds_everything_and_shows_no_key():
    one = mark(images(), KEY, **SMALL)
    others = [
        mark(images(), key(1), **SMALL),
        mark(images(seed=1), KEY, **SMALL),
        mark(images(), KEY, groups=labels(), **SMALL),
        *(mark(images(), KEY, **{**SMALL, name: 5}) for name in SMALL),
    ]
    assert len({each.commitment for each in (one, *others)}) == 7
    assert KEY.hex() not in one.commitment


def test_an_owner_who_chose_his_images_accuses_nobody_once_a_lot_draws(tmp_path):
    many, model = images(400), net()
    of = labels(400)
    every = mark(many, KEY, **SMALL)
    ranks = trace(model, every, many, of).ranks
    liked = np.array([ranks[draw] for draw in every.draws]) <= 3
    chosen = mark(many[liked], KEY, **SMALL)  # of versions that a model prefers unseen
    asked = many[liked], of[liked]
    assert trace(model, chosen, *asked).p < 1e-9
    p = [trace(model, chosen.by_lot(f"lot {one}"), *asked).p for one in range(100)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    drawn = chosen.by_lot("4 8 15")
    assert drawn.commitment == chosen.commitment  # deposited before the lot is known
    assert not np.array_equal(drawn.publish(many[liked]), chosen.publish(many[liked]))
    drawn.save(tmp_path / "marks.json")
    assert Marks.load(tmp_path / "marks.json") == drawn != chosen
    for odd in ("", 4):
        with pytest.raises(SettingsError, match="is no draw"):
            chosen.by_lot(odd)


# What is refused.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"key": b"short"}, "32 bytes, not 5"),
        ({"versions": 1}, "no alternative that stays secret"),
        ({"amplitude": 0}, "from 1 to 127"),
        ({"amplitude": 128}, "from 1 to 127"),
        ({"cell": 0}, "no side in pixels"),
    ],
)
def test_numbers_that_prove_nothing_are_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        mark(images(), **given)


@pytest.mark.parametrize(
    "given", [images().astype(np.float32), images()[0], images()[:0], [1, 2], None]
)
def test_what_is_no_image_is_refused(given):
    with pytest.raises(DataError, match=r"\(N, H, W, C\) uint8"):
        mark(given)


def test_groups_labels_and_originals_have_to_fit():
    marks = mark(images(), KEY, **SMALL)
    with pytest.raises(DataError, match="give one for each"):
        mark(images(), groups=[1, 2])
    with pytest.raises(DataError, match="give one each"):
        trace(net(), marks, images(), labels(3))
    with pytest.raises(DataError, match="give all of those"):
        trace(net(), marks, images(3), labels())
    with pytest.raises(DataError, match="Image 0 is not the original"):
        trace(net(), marks, images()[::-1], labels())
    with pytest.raises(DataError, match="Image 0 is not the original"):
        marks.publish(marks.publish(images()))
    with pytest.raises(DataError, match="Number the classes as its owner does"):
        trace(net(), marks, images(), labels() + 9)


@pytest.mark.parametrize(
    "answer", [lambda n: np.full(n, np.nan), lambda n: np.full(n, np.inf), lambda n: np.zeros(3)]
)
def test_answers_that_are_no_losses_are_refused(answer):
    marks = mark(images(), KEY, **SMALL)
    with pytest.raises(ModelError, match="one finite number for each of 128 images"):
        trace(lambda pixels, of: answer(len(pixels)), marks, images(), labels())


@pytest.mark.parametrize("ranks", [[], [0, 1], [17]])
def test_ranks_that_cannot_be_are_refused(ranks):
    with pytest.raises(SettingsError, match="from 1 to 16"):
        p_of_ranks(ranks, 16)


def test_ranks_in_arrays_are_counted_as_in_lists():
    random = np.random.default_rng(0)
    for count in (3, 12, 15, 60):
        for kind in (np.int64, np.int32, np.uint8):
            ranks = random.integers(1, 33, count).astype(kind)
            assert p_of_ranks(ranks, kind(32)) == p_of_ranks(ranks.tolist(), 32)
    with pytest.raises(SettingsError, match="whole numbers"):
        p_of_ranks([1.0, 2.0], 32)


@pytest.mark.parametrize("kind", [float, str, bool])
def test_labels_that_number_no_classes_are_refused(kind):
    marks = mark(images(), KEY, **SMALL)
    with pytest.raises(DataError, match="number no classes"):
        trace(net(), marks, images(), labels().astype(kind))


def test_sums_of_thousands_of_ranks_are_counted_as_written_out():
    for count, versions in ((1, 2), (4, 3), (7, 10), (12, 5)):
        for total in range(count * (versions - 1) + 1):
            written = sum(
                (-1) ** j * math.comb(count, j) * math.comb(total - j * versions + count, count)
                for j in range(total // versions + 1)
            )
            assert _at_most(total, count, versions) == written
    assert 0.4 < p_of_ranks([5, 6] * 2_000, 10) < 0.6
