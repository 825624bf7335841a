#!/usr/bin/env python3
"""What the rules of a calibration are worth on footage that it has not seen: on answers that are held.

The original runs once over each clip of the corpus. What holding its every 2nd, 3rd or 5th answer loses is then known
for any part of it. Each clip is taken apart in four ways into frames that are calibrated on and frames that are not
seen (one half or the other; the half in the middle, and the quarter before or behind it); of the former, two thirds
are searched on and one third checks. Each rule says from what budget on it would have held these answers. Missed: the
frames that were not seen lose more than that. Kept back: the budget over what they lose, 1 would be the best.

    python tests/bench/held_answers.py squats face bottles street room-pose screen-typing
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from run_pairs import Pair, parsed, parser_of

from rrm_onnx import yardstick
from rrm_onnx.calibrate.record import FIT, SPEED
from rrm_onnx.calibrate.search import GUARD, MARGINS, margin
from rrm_onnx.calibrate.trial import ERRORS, mean_and_error

Losses = npt.NDArray[np.float64]
EVERY = (2, 3, 5)
SPLITS = ((0, 2, 2, 4), (2, 4, 0, 2), (1, 3, 3, 4), (1, 3, 0, 1))  # quarters: calibrated on, not seen


@dataclass(frozen=True)
class Case:
    """Losses of one way to hold answers: on the frames that are searched on and on those that check, on both at a
    higher speed, and the mean of those that are not seen."""

    fit: Losses
    check: Losses
    fast: Losses
    fast_check: Losses
    unseen: float


def bound(losses: Losses) -> float:
    mean, error = mean_and_error(losses.tolist())
    return mean + ERRORS * error


def searched(case: Case) -> float:
    """With more kept back of few frames."""
    return bound(case.fit) / (1 - margin(len(case.fit) + 1))


def mean_checked(case: Case) -> float:
    mean = float(case.check.mean()) / (1 - margin(len(case.fit) + len(case.check) + 2))
    return max(searched(case), mean)


def bounds(case: Case) -> float:
    return max(bound(case.fit), bound(case.check)) / (1 - MARGINS[0])


def hurried(case: Case) -> float:
    return max(bounds(case), float(case.fast.mean()) / GUARD, bound(case.fast_check) / GUARD)


# The loss that has to be allowed.
RULES: dict[str, Callable[[Case], float]] = {
    "bound of the searched frames, more kept back of few": searched,
    "and mean of those that check": mean_checked,
    "bounds of both, a quarter kept back": bounds,
    f"and all of it at {SPEED} times the speed": hurried,
}


def stale(pair: Pair, threads: int) -> Losses:
    """[t, k]: what frame t's answer loses when that of frame t - k stands for it; nothing is known before frame 0."""
    session = yardstick.dense_session(pair.model, threads)
    names = [o.name for o in session.get_outputs()]
    ages = SPEED * (max(EVERY) - 1) + 1
    last: collections.deque[list[np.ndarray]] = collections.deque(maxlen=ages)
    found = []
    for feed in pair.feeds("clip"):
        last.appendleft([np.array(a) for a in yardstick.run(session, names, feed)])
        losses = [1 - pair.metrics.agreement(pair.pair, last[0], old) for old in last]
        found.append(losses + [np.nan] * (ages - len(losses)))
    return np.array(found)


def held(losses: Losses, first: int, end: int, every: int, speed: int = 1) -> Losses:
    """The losses on frames [first, end), or every `speed`-th of them, where every so many-th answer is fresh; the first
    frame does not count."""
    return np.array([losses[t, speed * (k % every)] for k, t in enumerate(range(first, end, speed)) if k])


def cases(losses: Losses) -> Iterator[Case]:
    quarters = [len(losses) * k // 4 for k in range(5)]
    for split in SPLITS:
        first, end, unseen, last = (quarters[k] for k in split)
        middle = first + round(FIT * (end - first))
        for every in EVERY:
            fit, check = held(losses, first, middle, every), held(losses, middle, end, every)
            fast, fast_check = held(losses, first, middle, every, SPEED), held(losses, middle, end, every, SPEED)
            if fit.any() or check.any():  # otherwise any budget would do
                yield Case(fit, check, fast, fast_check, float(held(losses, unseen, last, every).mean()))


def rows(found: Sequence[Case]) -> Iterator[tuple[str, float, float]]:
    """Of each rule: how often it misses, and the median of what it keeps back."""
    lost = np.array([case.unseen for case in found])
    for name, rule in RULES.items():
        allowed = np.array([rule(case) for case in found])
        yield name, float((lost > allowed).mean()), float(np.median(allowed[lost > 0] / lost[lost > 0]))


def main() -> int:
    given = parsed(parser_of(__doc__))
    found = [c for name in given.pair for c in cases(stale(Pair(name, given.corpus, given.frames), given.threads))]
    print(f"{len(found)} cases\n\n| rule | missed | kept back |\n|---|---|---|")
    for name, missed, ratio in rows(found):
        print(f"| {name} | {100 * missed:.1f} % | {ratio:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
