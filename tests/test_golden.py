"""Attacks on fixed logits of 2,500 images, against formulas written out from the papers.

From logits to scores: nothing of amint_core is used on the other side.
"""

import math

import numpy as np
import pytest
from made_logits import CLASSES, made_of

from amint_core.methods import bavaria, lira, rmia, watson, yeom

SIZES = {"members": 800, "external": 500, "calibration": 400, "holdout": 800}
SHADOWS = 16


@pytest.fixture(scope="module")
def case():
    return made_of(SIZES, seed=20240508, shadows=SHADOWS, gap=2.0)


def posteriors(logits, labels):
    """p_y of (..., N, classes) logits, by the definition of the softmax."""
    powers = np.exp(np.asarray(logits, np.float64))
    return np.take_along_axis(powers, labels[:, None], -1)[..., 0] / powers.sum(-1)


def taylor(logits, labels):
    """RMIA's soft-margin Taylor softmax: order 4, margin .6, temperature 2."""
    x = np.asarray(logits, np.float64) / 2
    series = 1 + x + x**2 / 2 + x**3 / 6 + x**4 / 24
    own = x[np.arange(len(labels)), labels] - 0.6
    own = 1 + own + own**2 / 2 + own**3 / 6 + own**4 / 24
    rest = series.sum(1) - series[np.arange(len(labels)), labels]
    return own / (own + rest)


def written_out(case):
    """All scores by their formulas, image by image: name → (N,)."""
    labels = case.images["label"].to_numpy()
    inside = case.shadows.inside
    p = posteriors(case.logits, labels)
    p_s = np.array([posteriors(one, labels) for one in case.shadows.logits])
    phi, phi_s = np.log(p / (1 - p)), np.log(p_s / (1 - p_s))
    found = {name: [] for name in ("watson", "lira_online", "lira_offline", "bavaria_online")}
    sides = [[phi_s[chosen[:, n], n] for n in range(len(p))] for chosen in (inside, ~inside)]
    spreads = [
        sum(((one - one.mean()) ** 2).sum() for one in side if len(one))
        / sum(len(one) - 1 for one in side if len(one))
        for side in sides
    ]
    gaps = {
        label: np.mean(
            [
                sides[0][n].mean() - sides[1][n].mean()
                for n in np.flatnonzero(labels == label)
                if len(sides[0][n])
            ]
        )
        for label in range(CLASSES)
    }
    priors = [np.concatenate(side) for side in sides]
    for n in range(len(p)):
        ins, out = sides[0][n], sides[1][n]
        found["watson"].append(np.mean(-np.log(p_s[~inside[:, n], n])) + math.log(p[n]))
        mean_in = ins.mean() if len(ins) else out.mean() + gaps[labels[n]]
        ratio = [
            -0.5 * math.log(2 * math.pi * v) - (phi[n] - m) ** 2 / (2 * v)
            for m, v in ((mean_in, spreads[0]), (out.mean(), spreads[1]))
        ]
        found["lira_online"].append(ratio[0] - ratio[1])
        found["lira_offline"].append((phi[n] - out.mean()) / math.sqrt(spreads[1]))
        densities = [
            student(phi[n], seen, prior) for seen, prior in zip((ins, out), priors, strict=True)
        ]
        found["bavaria_online"].append(densities[0] - densities[1])
    loss = -np.log(p)
    found["yeom"] = loss[case.known_members].mean() - loss
    return {name: np.array(one) for name, one in found.items()} | relative(case, labels)


def student(at, seen, prior):
    """Log density of the posterior predictive after κ₀ = 1, α₀ = 2 (Murphy 2007)."""
    n, centre, beta = len(seen), prior.mean(), prior.var()
    kappa, alpha = 1 + n, 2 + n / 2
    if n:
        beta += ((seen - seen.mean()) ** 2).sum() / 2
        beta += n * (seen.mean() - centre) ** 2 / (2 * kappa)
        centre = (centre + seen.sum()) / kappa
    scale, free = beta * (kappa + 1) / (alpha * kappa), 2 * alpha
    constant = math.lgamma((free + 1) / 2) - math.lgamma(free / 2)
    constant -= 0.5 * math.log(free * math.pi * scale)
    return constant - (free + 1) / 2 * math.log1p((at - centre) ** 2 / (free * scale))


def relative(case, labels):
    """RMIA's log ratios, less the median of the population's."""
    p = taylor(case.logits, labels)
    p_s = np.array([taylor(one, labels) for one in case.shadows.logits])
    inside = case.shadows.inside
    out = np.array([p_s[~inside[:, n], n].mean() for n in range(len(p))])
    within = np.array(
        [p_s[inside[:, n], n].mean() if inside[:, n].any() else np.nan for n in range(len(p))]
    )
    both = ~np.isnan(within)
    a = ((1 - within[both]) * (1 - out[both])).sum() / ((1 - out[both]) ** 2).sum()
    online = np.log(p / np.where(both, (within + out) / 2, ((1 + a) * out + 1 - a) / 2))
    offline = np.log(p / ((1.33 * out + 0.67) / 2))
    role = case.images["role"].to_numpy()
    return {
        "rmia_online": online - np.median(online[role == "calibration"]),
        "rmia_offline": offline - np.median(offline[role == "external"]),
    }


METHODS = {
    one.name: one
    for one in (
        *(yeom.METHOD, watson.METHOD, lira.ONLINE, lira.OFFLINE),
        *(bavaria.ONLINE, rmia.ONLINE, rmia.OFFLINE),
    )
}


#: Scores of a member, an external image and a judged non-member, as they were when all agreed.
GOLDEN = {
    "yeom": (-1.4535948934, -0.9604193305, -0.2159613234),
    "watson": (0.6903253528, -0.0176106918, 0.1484444826),
    "lira_online": (-0.1037496695, -3.4053452610, -3.0027255083),
    "lira_offline": (0.9489143287, -0.1247453278, 0.0712766854),
    "bavaria_online": (-0.4675054467, -1.9224371745, -1.6583601713),
    "rmia_online": (0.2488401644, -0.1515365944, 0.0316327366),
    "rmia_offline": (-0.3540418697, -0.2260169721, 0.1651981467),
}


def test_scores_stay_as_they_were(case):
    assert set(GOLDEN) == set(METHODS)
    for name, method in METHODS.items():
        kept = method.score(case)[[0, 1000, 2499]]
        assert kept == pytest.approx(GOLDEN[name], rel=1e-7, abs=1e-7), name


def test_scores_of_2500_images_are_the_papers_formulas(case):
    expected = written_out(case)
    assert set(expected) == set(METHODS)
    for name, method in METHODS.items():
        scores = method.score(case)
        assert scores.shape == (2500,)
        np.testing.assert_allclose(scores, expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_rmias_order_is_that_of_its_published_shares(case, gamma):
    for attack, role in ((rmia.ONLINE, "calibration"), (rmia.OFFLINE, "external")):
        scores = attack.score(case)
        z = scores[(case.images["role"] == role).to_numpy()]
        shares = (scores[:, None] - z >= math.log(gamma)).mean(1)
        assert (np.diff(shares[np.argsort(scores, kind="stable")]) >= 0).all()
        if gamma == 1:
            assert (shares[scores > 0] >= 0.5).all()
            assert (shares[scores < 0] <= 0.5).all()
