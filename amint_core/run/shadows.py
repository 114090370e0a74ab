"""Shadow models: the target's twins, trained on other images of the same population.

Each is of the target's kind (plain, or active with the target's external images), trained for as
many steps on as many members, drawn from the target's members, the calibration and the judged
images; external images are never among them. Tracks stay whole as in the target's split
(the last of a set may be cut to reach the size), and each is inside of about as many shadow models
as any other.

Non-members to draw from are at most `MOST_OTHERS` a member: a larger holdout would leave each image
inside of so few models that they tell nothing of it. What is left over, no shadow model can know,
which tells it from every member: a test that reads shadow models does not judge it
(`Draw.knows`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amint_core.config import EXACT, RunConfig
from amint_core.data.hashes import image_hashes
from amint_core.data.prepare import Data, prepare
from amint_core.errors import DataError, ResultsError, SettingsError
from amint_core.evaluation.scores import tracks_of
from amint_core.methods import METHODS
from amint_core.methods.case import Case, Shadows
from amint_core.progress import progress_bar
from amint_core.run.models import build
from amint_core.run.needs import shadow_kind
from amint_core.run.read_back import read_history
from amint_core.run.trainings import Training, identity, train_and_store
from amint_core.run.worker import begin_work
from amint_core.store import read_or_set_aside, stored
from amint_core.training.distributed import agreed, processes

#: Non-members that shadow models are drawn from, for each member: images are inside of .4 of them.
MOST_OTHERS = 1.5
_DRAW, _SEED, _OTHERS = 21, 22, 24  # streams of random numbers that follow from a run's seed


@dataclass(frozen=True)
class Draw:
    """Which shadow model is trained on what.

    Attributes:
        data: the run's data.
        candidates: (C,) indices into the dataset: what the shadow models are drawn from.
        members: (S, members) indices: what each is trained on.
        trainings: one per shadow model.
    """

    data: Data
    candidates: np.ndarray
    members: np.ndarray
    trainings: tuple[Training, ...]

    def knows(self, index: np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether a shadow model could be trained on the image at each index."""
        return np.isin(index, self.candidates)

    def inside(self, index: np.ndarray) -> np.ndarray:
        """Return (S, n) bool: whether shadow model s is trained on the image at each index."""
        return np.stack([np.isin(index, chosen) for chosen in self.members])


def draw(data: Data) -> Draw:
    """Draw the training sets of the shadow models that a run's method reads.

    The first of them are the same however many there are.
    """
    settings, dataset, split = data.settings, data.dataset, data.split
    candidates = _candidates(data)
    tracks = _tracks(data, candidates)
    random = np.random.default_rng([settings.seed, _DRAW])
    count = METHODS[settings.method].shadows_used(settings.shadows)
    members = candidates[draw_sets(random, tracks, len(split.roles["members"]), count)]
    external = dataset.hashes[split.roles["external"]].astype(str)
    # A plain model takes of the external images their number alone, which gives its steps.
    kind = shadow_kind(settings)
    learnt = external if kind.with_external else [str(len(external))]
    trainings = []
    for number, chosen in enumerate(members):
        digest = _digest([*learnt, *dataset.hashes[chosen].astype(str)])
        own = _settings_of(settings, number)
        trainings.append(Training(identity(own, kind, dataset.fingerprint, digest)))
    return Draw(data, candidates, members, tuple(trainings))


def others_drawn(members: int, calibration: int, judged: int) -> int:
    """Return how many of the judged non-members shadow models are drawn from."""
    return min(judged, max(int(MOST_OTHERS * members) - calibration, members // 2))


def _candidates(data: Data) -> np.ndarray:
    """Return the indices of members, calibration images and as many judged ones as may join them.

    Whole tracks of them, until there are enough.
    """
    split = data.split
    parts = {
        role: split.roles[role]
        for role in split.roles
        if role in ("members", "calibration", split.judged_role)
    }
    judged = parts[split.judged_role]
    count = others_drawn(len(parts["members"]), len(parts.get("calibration", ())), len(judged))
    if count < len(judged):
        random = np.random.default_rng([data.settings.seed, _OTHERS])
        (places,) = draw_sets(random, _tracks(data, judged), count, 1)
        parts[split.judged_role] = judged[places]
    return np.concatenate(list(parts.values()))


def _tracks(data: Data, index: np.ndarray) -> np.ndarray:
    """Return (n,) numbers that frames of one track share, unless the run ignores tracks."""
    ignored = data.settings.has("tracks_ignored")
    return np.arange(len(index)) if ignored else tracks_of(data.dataset, index)


def draw_sets(random: np.random.Generator, tracks: np.ndarray, size: int, count: int) -> np.ndarray:
    """Return (count, size) places: stretches of an endless stream that shuffles all tracks in turn.

    Args:
        random: what shuffles.
        tracks: (C,) track numbers of the candidates.
        size: images in a set.
        count: sets.
    """
    order = np.argsort(tracks, kind="stable")
    frames = np.split(order, np.flatnonzero(np.diff(tracks[order])) + 1)
    lengths = np.array([len(one) for one in frames])
    stream = random.permutation(len(frames))
    drawn = []
    for _ in range(count):
        if lengths[stream].sum() < size:
            # What this set has already comes last in the next round: no image twice in one set.
            fresh = np.setdiff1d(np.arange(len(frames)), stream, assume_unique=True)
            again = random.permutation(stream)
            stream = np.concatenate([stream, random.permutation(fresh), again])
        taken = int(np.searchsorted(lengths[stream].cumsum(), size)) + 1
        chosen = np.concatenate([frames[track] for track in stream[:taken]])
        drawn.append(np.sort(chosen[:size]))
        stream = stream[taken:]
    return np.array(drawn)


def _settings_of(settings: RunConfig, number: int) -> RunConfig:
    seed = np.random.SeedSequence([settings.seed, _SEED, number]).generate_state(1, np.uint32)
    return settings.to_train(shadow_kind(settings).name).model_copy(update={"seed": int(seed[0])})


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def check(drawn: Draw) -> None:
    """Refuse a run whose shadow models cannot be trained, or will not do for its method.

    Raises:
        SettingsError: it says why, and what to change.
    """
    settings, split = drawn.data.settings, drawn.data.split
    if settings.patience and shadow_kind(settings).with_external:
        raise SettingsError(
            f"patience = {settings.patience} may stop the target early, and its shadow models "
            "would train on. Set patience = 0 to attack an active model."
        )
    if min(settings.workers, processes().num_processes) > 1:
        raise SettingsError(
            f"workers = {settings.workers}: processes that train one model together train one "
            "shadow model after the other. Set workers = 1, or start one process."
        )
    asked = np.concatenate(list(split.roles.values()))
    METHODS[settings.method].check_shadows(drawn.inside(asked), settings)


def train_shadows(drawn: Draw) -> None:
    """Train the shadow models of a run that are not trained yet, several at once if it says so.

    Models that another process trains at this moment are left to it and waited for at the end.
    """
    settings, trainings = drawn.data.settings, drawn.trainings
    if processes().is_main_process:
        print(METHODS[settings.method].beside_published(settings.shadows))
    missing = agreed(lambda: [n for n, one in enumerate(trainings) if not one.is_whole()])
    title = f"shadow models ({len(trainings) - len(missing)} there)"
    with progress_bar(shown=bool(missing), total=len(missing), desc=title, unit="model") as bar:
        if settings.workers > 1 and len(missing) > 1:
            for _ in _side_by_side(settings, missing):
                bar.update()
            return
        free = agreed(lambda: [number for number in missing if not trainings[number].is_busy()])
        for number in (*free, *(number for number in missing if number not in free)):
            _train_one(drawn, number)
            bar.update()


def _train_one(drawn: Draw, number: int) -> None:
    training, data = drawn.trainings[number], drawn.data
    with training.alone():
        if training.is_done():
            return  # by another process, while this one waited
        settings = _settings_of(data.settings, number)
        train_and_store(
            training,
            shadow_kind(data.settings),
            dataclasses.replace(data, settings=settings),
            build(data, settings.seed),
            drawn.members[number],
            title=f"shadow model {number + 1} of {len(drawn.trainings)}",
        )


def _side_by_side(settings: RunConfig, missing: list[int]) -> Iterator[None]:
    """Train in processes of their own; yield as each ends."""
    # Fresh processes: PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(settings.workers, get_context("spawn"), begin_work) as pool:
        jobs = [pool.submit(_train_in_process, settings, number) for number in missing]
        try:
            for job in as_completed(jobs):
                job.result()
                yield
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # those not begun
            raise


def _train_in_process(settings: RunConfig, number: int) -> None:
    _train_one(_draw_of(settings), number)


@lru_cache(maxsize=1)
def _draw_of(settings: RunConfig) -> Draw:
    """Draw for a run once in a process that trains several of its shadow models."""
    return draw(prepare(settings))


def answers(drawn: Draw, case: Case) -> Shadows:
    """Return the shadow models' answers on a case's images; computed once and kept.

    Raises:
        DataError: an image of the case is none of the run's.
        ResultsError: a shadow model is not trained.
    """
    _check_known(case.images, drawn.data)
    inside = drawn.inside(case.images["index"].to_numpy())
    if case.transformation == EXACT:
        return Shadows(inside, _logits(drawn, case))
    # Judged images alone are transformed: the others stay as they are.
    logits = _logits(drawn, case.after(EXACT, judged_only=False))
    judged = case.after(case.transformation, judged_only=True)
    logits[:, case.images["judged"]] = _logits(drawn, judged)
    return Shadows(inside, logits)


def _check_known(images: pd.DataFrame, data: Data) -> None:
    """Refuse images that do not have the role that they have in the run."""
    for role, rows in images.groupby("role"):
        strangers = np.setdiff1d(rows["index"], data.split.roles.get(role, ()))
        if len(strangers):
            raise DataError(
                f"Image {strangers[0]} as {role} is none of this run's images, so that nothing is "
                "known of its shadow models. Prepare the data again."
            )


def describe(drawn: Draw) -> dict[str, Any]:
    """Return how many shadow models a run used, how many published results took, and the seconds
    their training took."""
    settings, trainings, seconds = drawn.data.settings, drawn.trainings, 0.0
    method = METHODS[settings.method]
    for training in trainings:
        history = read_or_set_aside(training.history, read_history)
        seconds += 0.0 if history is None else float(history["seconds"].sum())
    return {
        "kind": shadow_kind(settings).name,
        "count": len(trainings),
        "published": method.published_shadows_text,
        "fewer_than_published": method.has_fewer_shadows(len(trainings)),
        "seconds": round(seconds, 1),
    }


def _logits(drawn: Draw, case: Case) -> np.ndarray:
    """Return the (S, N, classes) logits of all shadow models; computed once and kept."""
    images = case.images["image"].to_numpy()
    if case.transformation != EXACT:
        images = image_hashes(case.pixels(np.arange(len(images)))).astype(str)
    asked = _digest(images.tolist())[:24]
    return np.stack(
        [_logits_of_one(training, drawn.data, case, asked) for training in drawn.trainings]
    )


def _logits_of_one(training: Training, data: Data, case: Case, asked: str) -> np.ndarray:
    file = training.folder / f"logits-{asked}.npy"
    count = len(case.images)
    logits = read_or_set_aside(file, partial(_read_logits, count=count))
    if logits is not None:
        return logits
    model = build(data)
    part = shadow_kind(data.settings).part(model)
    found = training.load(part)
    if found is None:
        raise ResultsError(f"The shadow model of {training} is not trained. Train the run first.")
    part.load_state_dict(found[0])
    logits = case.logits_of(model.audited.to(case.device), "ask a shadow model")
    with stored(file) as temporary:
        np.save(temporary, logits)
    return logits


def _read_logits(file: Path, count: int) -> np.ndarray:
    logits = np.load(file)
    if logits.ndim != 2 or len(logits) != count or logits.dtype.kind != "f":
        raise ValueError(f"no logits of {count} images")
    return logits
