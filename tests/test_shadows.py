"""Shadow models: drawn evenly, trained once, asked once."""

import numpy as np
import pytest
from small_run import SMALL

from amint_core.errors import DataError, ResultsError, SettingsError, TrainingError
from amint_core.evaluation.scores import images_of
from amint_core.run import shadows, steps
from amint_core.run.folder import Run
from amint_core.settings import create


def run(**changes):
    given = {**SMALL, "method": "lira_online", "shadows": 4, **changes}
    return Run(create(**given))


def test_each_set_has_the_targets_size_and_no_image_twice():
    drawn = run(shadows=7).shadows
    assert drawn.members.shape == (7, 60)
    assert all(len(set(chosen)) == 60 for chosen in drawn.members)


def test_every_candidate_is_inside_of_about_as_many_sets():
    drawn = run(shadows=20).shadows
    counts = np.bincount(drawn.members.ravel())[drawn.candidates]
    assert counts.max() - counts.min() <= 2
    assert counts.sum() == 20 * 60


#: More non-members than 1.5 a member.
MANY = {"members": 40, "external": 60, "calibration": 20, "holdout": 400}


def test_a_larger_holdout_leaves_every_candidate_inside_of_as_many_models():
    few, many = run(**{**MANY, "holdout": 40}).shadows, run(**MANY).shadows
    # 40 members, 20 calibration images and 40 of the holdout, however large it is.
    assert len(few.candidates) == len(many.candidates) == 100
    roles = many.data.split.roles
    drawn = {role: int(many.knows(roles[role]).sum()) for role in roles}
    assert drawn == {"members": 40, "external": 0, "calibration": 20, "holdout": 40, "test": 0}
    assert many.inside(many.candidates).mean() == pytest.approx(0.4)


def test_images_that_no_shadow_model_can_know_are_not_judged_by_tests_that_ask_them():
    shown = {
        method: steps.judged_images(run(**MANY, method=method)) for method in ("watson", "yeom")
    }
    judged = {method: images[images["judged"]] for method, images in shown.items()}
    counts = {method: rows["role"].value_counts().to_dict() for method, rows in judged.items()}
    assert counts == {
        "watson": {"members": 20, "holdout": 40},
        "yeom": {"members": 20, "holdout": 400},
    }
    drawn = run(**MANY).shadows
    assert drawn.knows(judged["watson"]["index"].to_numpy()).all()


def test_a_holdout_that_is_not_larger_is_drawn_from_and_judged_whole():
    assert shadows.others_drawn(2000, 1000, 2000) == 2000
    made = run(holdout=50)
    roles = made.data.split.roles
    whole = np.concatenate([roles[role] for role in roles if role not in ("external", "test")])
    assert np.array_equal(made.shadows.candidates, whole)
    images = steps.judged_images(made)
    assert images.equals(images_of(made.data.dataset, made.data.split))


def test_judged_tracks_are_drawn_from_whole():
    signs = {"dataset": "gtsrb", "members": 60, "external": 120, "calibration": 60, "holdout": 240}
    drawn = run(**signs, shadows=6).shadows
    holdout, groups = drawn.data.split.roles["holdout"], drawn.data.dataset.groups
    known = drawn.knows(holdout)
    assert known.sum() == 30
    tracks, frames = np.unique(groups[holdout[known]], return_counts=True)
    assert (frames < np.bincount(groups[holdout])[tracks]).sum() <= 1  # the last one is cut


def test_external_and_test_images_are_inside_of_none():
    made = run()
    images = images_of(made.data.dataset, made.data.split)
    inside = made.shadows.inside(images["index"])
    outsiders = images["role"].isin(["external", "test"]).to_numpy()
    assert not inside[:, outsiders].any()
    assert inside[:, ~outsiders].any(0).mean() > 0.5


def test_membership_in_the_target_says_nothing_of_membership_in_a_shadow():
    made = run(shadows=40)
    images = images_of(made.data.dataset, made.data.split)
    images = images[made.shadows.knows(images["index"])]
    inside = made.shadows.inside(images["index"]).mean(0)
    member, judged = (images["member"].to_numpy(), images["role"].eq("holdout").to_numpy())
    assert inside[member].mean() == pytest.approx(inside[judged].mean(), abs=0.05)


def test_frames_of_one_track_are_inside_together():
    signs = {"dataset": "gtsrb", "members": 120, "external": 120, "calibration": 60, "holdout": 120}
    drawn = run(**signs, shadows=6).shadows
    assert all(len(set(chosen)) == 120 for chosen in drawn.members)
    ignored = run(**signs, shadows=6, defects=("tracks_ignored",)).shadows
    groups, roles = drawn.data.dataset.groups, drawn.data.split.roles
    assert len(set(groups[ignored.members[0]])) > 60
    candidates = np.concatenate([roles[role] for role in ("members", "calibration", "holdout")])
    for chosen in drawn.members:
        tracks, frames = np.unique(groups[chosen], return_counts=True)
        whole = np.bincount(groups[candidates])[tracks]
        assert (frames < whole).sum() <= 1  # the last one, cut to reach the size


def test_shadow_models_of_an_active_target_are_active():
    plain, active = run(), run(target="active")
    settings = shadows._settings_of(active.settings, 0)
    assert settings.method == "active"
    identities = [one.shadows.trainings[0].identity for one in (plain, active)]
    assert [one["training"]["kind"] for one in identities] == ["plain", "active"]
    shadows.train_shadows(active.shadows)
    weights, history = active.shadows.trainings[0].load()
    assert any(name.startswith("head.") for name in weights)
    assert history["mint_loss"].notna().all()
    found = shadows.answers(active.shadows, steps.case_of(active))
    assert np.isfinite(found.logits).all()
    assert shadows.describe(active.shadows)["kind"] == "active"


def test_shadow_models_that_will_not_do_are_refused_before_they_are_trained(monkeypatch):
    monkeypatch.setattr(shadows, "train_and_store", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(SettingsError, match=r"needs each image .* of two shadow models or more"):
        shadows.check(run(variance="per_image", seed=3).shadows)
    with pytest.raises(SettingsError, match=r"Set patience = 0 to attack an active model"):
        shadows.check(run(target="active", patience=3).shadows)
    made = run(variance="per_image", seed=3)
    with pytest.raises(SettingsError, match="of two shadow models"):
        steps.train(made)


def test_one_that_fails_keeps_the_rest_from_starting(monkeypatch):
    made = run(shadows=8, workers=2, learning_rate=1e30)
    with pytest.raises(TrainingError):
        shadows.train_shadows(made.shadows)
    begun = [one for one in made.shadows.trainings if one.folder.exists()]
    assert len(begun) < 8


def test_more_shadow_models_keep_the_first():
    few, many = run(shadows=4).shadows, run(shadows=9).shadows
    assert np.array_equal(few.members, many.members[:4])
    assert [one.folder for one in few.trainings] == [one.folder for one in many.trainings[:4]]


@pytest.mark.parametrize("changes", [{"seed": 1}, {"members": 61}, {"epochs": 2}, {"external": 60}])
def test_another_split_or_setting_is_another_shadow_model(changes):
    first, other = run().shadows, run(**changes).shadows
    assert not {t.folder for t in first.trainings} & {t.folder for t in other.trainings}


def test_methods_share_shadow_models_and_train_each_once(monkeypatch):
    trainings = []
    honest = shadows.train_and_store

    def counted(*given, **named):
        trainings.append(1)
        honest(*given, **named)

    monkeypatch.setattr(shadows, "train_and_store", counted)
    shadows.train_shadows(run().shadows)
    shadows.train_shadows(run(method="rmia_offline").shadows)
    assert len(trainings) == 4


def test_several_processes_train_the_same_models(tmp_path, monkeypatch):
    made = run(shadows=4)
    shadows.train_shadows(made.shadows)
    serial = shadows.answers(made.shadows, steps.case_of(made)).logits
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "other"))
    made = run(shadows=4, workers=2)
    shadows.train_shadows(made.shadows)
    assert np.array_equal(shadows.answers(made.shadows, steps.case_of(made)).logits, serial)


def test_shadow_models_know_their_own_images_better():
    made = run(epochs=25, learning_rate=3e-3)
    shadows.train_shadows(made.shadows)
    case = steps.case_of(made)
    found = shadows.answers(made.shadows, case)
    right = found.logits.argmax(2) == case.labels
    pool = case.images["role"].ne("external").to_numpy()
    right, inside = right[:, pool], found.inside[:, pool]
    assert right[inside].mean() > right[~inside].mean()


def test_answers_follow_an_images_place_not_its_row():
    made = run()
    shadows.train_shadows(made.shadows)
    case = steps.case_of(made)
    straight = shadows.answers(made.shadows, case)
    order = np.random.default_rng(0).permutation(len(case.images))[::2]
    case.images = case.images.iloc[order].reset_index(drop=True)
    mixed = shadows.answers(made.shadows, case)
    assert np.array_equal(mixed.inside, straight.inside[:, order])
    np.testing.assert_allclose(mixed.logits, straight.logits[:, order], atol=1e-5)
    case.images.loc[0, "role"] = "test"
    with pytest.raises(DataError, match=r"as test is none of this run's images"):
        shadows.answers(made.shadows, case)


def test_salem_trains_the_one_model_that_it_reads(capsys):
    made = run(method="salem")
    shadows.train_shadows(made.shadows)
    assert "1 shadow model; its paper used 1." in capsys.readouterr().out
    found = shadows.describe(made.shadows)
    assert (found["count"], found["published"]) == (1, "1")
    first = run(method="lira_online").shadows.trainings[0]
    assert first.folder == made.shadows.trainings[0].folder


def test_few_shadow_models_are_said_when_they_are_trained_and_in_the_metrics(capsys):
    metrics = steps.run_all(run().settings)
    assert "its paper used 64 to 256: expect less power." in capsys.readouterr().out
    shown = metrics["training"]["shadows"]
    assert (shown["count"], shown["published"]) == (4, "64 to 256")
    assert shown["fewer_than_published"]


def test_a_run_draws_its_training_sets_once(monkeypatch):
    drawn = []
    honest = shadows.draw_sets
    monkeypatch.setattr(
        shadows, "draw_sets", lambda *given: drawn.append(given[3]) or honest(*given)
    )
    made = run(seed=11)
    steps.run_all(made.settings)
    # Non-members that may be drawn are drawn as one set before.
    assert drawn == [1, made.settings.shadows]


def test_asking_before_training_is_an_error():
    made = run()
    with pytest.raises(ResultsError, match="not trained"):
        shadows.answers(made.shadows, steps.case_of(made))
