"""A case made of logits, with shadow models beside it, for tests of the attacks."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from amint_core.methods.case import Case
from amint_core.run.shadows import Shadows

CLASSES = 4
#: The role and number of images of a made case; half of the members are judged.
ROLES = {"members": 400, "external": 200, "calibration": 200, "holdout": 200}


def made_images(random, sizes):
    role = np.repeat(list(sizes), list(sizes.values()))
    member = role == "members"
    judged = (role == "holdout") | (member & (np.cumsum(member) <= sizes["members"] // 2))
    label = random.integers(0, CLASSES, len(role))
    return pd.DataFrame({"role": role, "member": member, "judged": judged, "label": label})


def made_case(seed=0, **changes):
    return made_of(ROLES, seed, **changes)


def made_of(sizes, seed, gap=3.0, shadows=8, variance="global", secret=None, target="plain"):
    """A case of logits: hard and easy images, and `gap` more on the class of who was trained on.

    `sizes` are images by role; `secret` replaces the membership that the target's logits follow.
    """
    random = np.random.default_rng(seed)
    images = made_images(random, sizes)
    pool = (images["role"] != "external").to_numpy()
    order = np.argsort(random.random((shadows // 2, len(images))), axis=1)
    half = order % 2 == 0
    inside = np.concatenate([half, ~half]) & pool  # each pool image inside half of them
    trained = images["member"].to_numpy() if secret is None else secret
    ease = random.normal(1, 1.5, len(images))  # (N,)

    def answers(trained):
        logits = random.normal(0, 0.7, (len(images), CLASSES))
        logits[np.arange(len(images)), images["label"]] += ease + gap * trained
        return logits.astype(np.float32)

    shadows = Shadows(inside, np.stack([answers(one) for one in inside]))
    case = Case(
        settings=SimpleNamespace(variance=variance, target=target),
        dataset=None,
        split=None,
        images=images,
        target=None,
        device=None,
        find_shadows=lambda case: shadows,
    )
    case.logits = answers(trained)
    return case


def made_phi(seed=0, shadows=6, images=30):
    """Random φ, and who is inside: each image in half of the models, the last five in none."""
    random = np.random.default_rng(seed)
    inside = np.array([random.permutation(shadows) < shadows // 2 for _ in range(images)]).T
    inside[:, -5:] = False
    labels = random.integers(0, 3, images)
    labels[-1] = 3  # a class of which no shadow model saw an image
    return random.normal(1, 2, images), random.normal(0, 2, (shadows, images)), inside, labels
