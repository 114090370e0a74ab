"""The lines of docs/audit.md that hold measured numbers, from results/audit."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from amint_core.locations import project_root

FOLDER = project_root() / "results" / "audit"
KINDS = ("as they are", "a quarter brighter", "resized by NEAREST", "MNIST", "noise")


def table(name: str) -> pd.DataFrame:
    """Return one of the committed tables."""
    return pd.read_csv(FOLDER / f"{name}.csv")


def percent(share: float, digits: int = 1) -> str:
    """Return a share in per cent, as the page writes it."""
    return f"{100 * share:.{digits}f} %"


def of_replays() -> Iterator[str]:
    """Yield the rows of the table of replayed trainings."""
    rows = table("replays_summary").set_index("training")
    for name, row in rows.iterrows():
        if name == "honest":
            accused = f"{row.accused:.0f} accused"
            yield f"| honest, every epoch replayed | {row.trainings:.0f} | {accused} |"
            continue
        yield (
            f"| an image {name} in one epoch | {row.trainings:.0f} | {row.caught_when_drawn:.0f} "
            f"caught where that epoch is replayed, {row.accused_when_not_drawn:.0f} where only the "
            f"others are; {row.replayed:.0f} of {row.epochs:.0f} epochs by lot caught "
            f"{row.caught_by_lot:.0f} |"
        )


def of_cost() -> Iterator[str]:
    """Yield what a replay by lot costs and finds."""
    rows = table("replays_summary").set_index("training")
    honest, others = rows.loc["honest"], rows.drop("honest")
    found, all_ = int(others.caught_by_lot.sum()), int(others.trainings.sum())
    yield (
        f"{honest.replayed:.0f} of {honest.epochs:.0f} epochs meet one tampered epoch with "
        f"probability {percent(honest.probability, 0)}; by lot they met {found} of {all_}, "
        f"and every one that they met was caught. They took "
        f"{percent(honest.cost, 0)} of the training's time (median)"
    )


def of_draws() -> Iterator[str]:
    """Yield what holds in folders drawn anew."""
    rows = table("draws")
    count = len(rows)
    yield (
        f"p at most 1 % for {percent(rows['p at most 0.01'].mean(), 2)} of the strangers and at "
        f"most 5 % for {percent(rows['p at most 0.05'].mean(), 2)}"
    )
    yield (
        f"below 0.05 in {(rows['uniform'] <= 0.05).sum()} of {count} "
        "(Kolmogorov and Smirnov's test)"
    )
    for members in (50, 150):
        accused, wrong = (
            rows[f"{members} members: accused"],
            rows[f"{members} members: wrong share"],
        )
        yield (
            f"| {members} | {accused.mean():.1f} | {percent(wrong.mean())} | "
            f"{rows[f'{members} members: bound holds'].sum()} of {count} |"
        )
    floor = (rows["10 members: headline"] == "cannot tell, floor 20").sum()
    yield f"“cannot tell, floor 20” in {floor} of {count}"


def of_kinds() -> Iterator[str]:
    """Yield the rows of the table of strangers that look otherwise."""
    means = table("kinds").groupby(["images", "reference"])
    for kind in KINDS:
        yield f"| {kind} | {_of_kind(means, kind, 'as they are')} | " + (
            f"{_of_kind(means, kind, 'of the same kind')} |"
        )


def _of_kind(groups, kind: str, reference: str) -> str:
    rows = groups.get_group((kind, reference))
    if rows["another kind"].all():
        return "cannot tell: another kind"
    shares = [percent(rows[f"p at most {level}"].mean(), 2) for level in (0.01, 0.05)]
    return f"{shares[0]} and {shares[1]}"


def answered() -> pd.DataFrame:
    """Rows of models of which the audit can tell; of others it finds the images of another kind."""
    rows = table("hidden")
    return rows[rows["reference fits"]]


def refused() -> Iterator[str]:
    """Yield of how many models the audit says that it cannot tell."""
    models = table("hidden").groupby(["owner", "seed"])["reference fits"].all()
    (owner, _), *others = models[~models].index
    assert (owner, others, len(models)) == ("misdeclared", [], 6)
    yield "Of one of the six models, whose owner declared the hidden half external, the audit says"


def of_hidden() -> Iterator[str]:
    """Yield the rows of the table of hidden members."""
    groups = answered().groupby(["owner", "shadows", "class"], sort=False)
    words = {"undeclared": "not declared", "misdeclared": "declared external"}
    for key, row in groups.mean(numeric_only=True).iterrows():
        owner, shadows, known = key
        least = groups["at least"].get_group(key)
        parts = [row[f"hidden: {test}"] for test in ("head", "loss", "possibly undeclared")]
        parts.append(row["asked: possibly undeclared"])
        cells = " | ".join(percent(one) for one in parts)
        as_a_set = f"{least.min():.0f} to {least.max():.0f}"
        yield f"| {words[owner]} | {shadows or 'none'} | {known} | {cells} | {as_a_set} |"


def of_fit() -> Iterator[str]:
    """Yield how well the classifiers know hidden members, beside test images."""
    rows = table("hidden")
    hidden, test = (rows[f"accuracy on {name}"].mean() for name in ("hidden", "test"))
    right = f"{percent(hidden)} of the hidden members rightly and {percent(test)}"
    yield f"classify {right} of test images"


def _suspected(owner: str, shadows: int, known: str) -> pd.DataFrame:
    rows = answered().set_index(["owner", "shadows", "class"]).sort_index()
    return rows.loc[(owner, shadows, known)]


def of_hidden_in_readme() -> Iterator[str]:
    """Yield what README says of hidden members."""
    said = "possibly undeclared"
    alone, beside = (_suspected("undeclared", count, "true") for count in (0, 8))
    hidden = percent(alone[f"hidden: {said}"].mean())
    yield f"Of the hidden members {hidden} are called *{said}*"
    external = _suspected("misdeclared", 8, "true")
    yield (
        f"with eight shadow models {percent(beside[f'hidden: {said}'].mean())} "
        f"({percent(external[f'hidden: {said}'].mean())} of those declared as external, two models)"
    )
    rows = answered()
    yield f"of non-members it is {percent(rows[f'asked: {said}'].mean())}"
    models = [_suspected(owner, 8, "true") for owner in ("undeclared", "misdeclared")]
    assert [len(one) for one in models] == [3, 2]
    alone = rows[(rows["shadows"] == 0) & (rows["class"] == "true")]
    yield f"at least {alone['at least'].min():.0f} of the images that the head does not recognise"
    yield f"where it had learnt {rows['hidden members'].iloc[0]:,}"


LINES = (of_replays, of_cost, of_draws, of_kinds, of_hidden, of_fit, refused)
