"""Times in interleaved pairs: what slows the machine for a while slows both sides."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

#: Seconds between two turns, for worker processes to come to rest.
PAUSE = 0.1

#: Repeats a call, after a setup each time, for so many rounds, and may record its times, as
#: pytest-benchmark's `benchmark.pedantic` does.
Harness = Callable[[Callable[[], object], Callable[[], None], int], object]


def by_hand(target: Callable[[], object], setup: Callable[[], None], rounds: int) -> None:
    """Repeat without a harness."""
    for _ in range(rounds):
        setup()
        target()


@dataclass(frozen=True)
class Ratio:
    """How many times longer one side took than the other: median, least and largest pair."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, longer: list[float], shorter: list[float]) -> Ratio:
        """Compare the sides pair by pair."""
        ratios = [one / other for one, other in zip(longer, shorter, strict=True)]
        return cls(median(ratios), min(ratios), max(ratios))

    def row(self, name: str) -> dict[str, float]:
        """Return the ratio as columns of a table."""
        return {name: self.median, f"{name}_low": self.low, f"{name}_high": self.high}


def interleaved(
    sides: Mapping[str, Callable[[], float]],
    seconds: float,
    rounds: tuple[int, int] = (3, 15),
    harness: Harness = by_hand,
) -> dict[str, list[float]]:
    """Let all sides take turns and return each one's seconds, round by round.

    Args:
        sides: name → runs one turn and returns its seconds; the last is what the harness records.
        seconds: time to spend, from which the number of rounds follows.
        rounds: least and largest number of rounds.
        harness: repeats the rounds.
    """
    started = time.perf_counter()
    for turn in sides.values():  # a turn that is not counted: caches, kernels, worker processes
        turn()
    once = time.perf_counter() - started
    count = max(rounds[0], min(rounds[1], int(seconds / once)))
    times: dict[str, list[float]] = {name: [] for name in sides}
    *first, last = sides

    def take(*names: str) -> None:
        for name in names:
            time.sleep(PAUSE)
            times[name].append(sides[name]())

    harness(lambda: take(last), lambda: take(*first), count)
    return times
