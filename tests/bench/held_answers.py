#!/usr/bin/env python3
"""How sure a loss is that was measured on a part of a clip: of answers that are held, on pairs of the corpus.

The original runs once over each clip. What holding its every 2nd, 3rd or 5th answer loses is then known for any part
of it. Each clip is taken apart in four ways into frames that are calibrated on and frames that are not seen (one half
or the other; the half in the middle, and the quarter before or behind it); of the former, two thirds are searched on
and one third checks. For several ways to estimate the loss: how often the frames that are not seen lose more than is
allowed, when the estimate is what the share that is kept back leaves of it.

    python tests/bench/held_answers.py squats face bottles street room-pose screen-typing
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from run_pairs import CORPUS, Pair

from rrm_onnx import yardstick
from rrm_onnx.calibrate.record import FIT
from rrm_onnx.calibrate.trial import ERRORS, mean_and_error

Losses = npt.NDArray[np.float64]
EVERY = (2, 3, 5)
KEPT = (0.0, 0.25, 0.5)  # shares of the allowed loss
SPLITS = ((0, 2, 2, 4), (2, 4, 0, 2), (1, 3, 3, 4), (1, 3, 0, 1))  # quarters: calibrated on, not seen


def bound(losses: Losses) -> float:
    mean, error = mean_and_error(losses.tolist())
    return mean + ERRORS * error


# Of the losses on frames that are searched on and on frames that check.
ESTIMATES: dict[str, Callable[[Losses, Losses], float]] = {
    "mean of all": lambda fit, check: float(np.mean(np.concatenate([fit, check]))),
    "mean of all and two standard errors": lambda fit, check: bound(np.concatenate([fit, check])),
    "the same of the searched ones, or the mean of those that check": lambda fit, check: max(bound(fit), check.mean()),
    "the same of both": lambda fit, check: max(bound(fit), bound(check)),
}


def stale(pair: Pair, threads: int) -> Losses:
    """[t, k]: what frame t's answer loses when that of frame t - k stands for it; nothing is known before frame 0."""
    session = yardstick.dense_session(pair.model, threads)
    names = [o.name for o in session.get_outputs()]
    last: collections.deque[list[np.ndarray]] = collections.deque(maxlen=max(EVERY))
    found = []
    for feed in pair.feeds("clip"):
        last.appendleft([np.array(a) for a in yardstick.run(session, names, feed)])
        losses = [1 - pair.metrics.agreement(pair.pair, last[0], old) for old in last]
        found.append(losses + [np.nan] * (max(EVERY) - len(losses)))
    return np.array(found)


def held(losses: Losses, first: int, end: int, every: int) -> Losses:
    """The losses on frames [first, end) where every so many-th answer is fresh; the first frame does not count."""
    return np.array([losses[t, (t - first) % every] for t in range(first + 1, end)])


def cases(losses: Losses) -> Iterator[tuple[Losses, Losses, float]]:
    """Losses on frames that are searched on, on those that check, and the mean of those that are not seen."""
    quarters = [len(losses) * k // 4 for k in range(5)]
    for split in SPLITS:
        first, end, unseen, last = (quarters[k] for k in split)
        middle = first + round(FIT * (end - first))
        for every in EVERY:
            fit, check = held(losses, first, middle, every), held(losses, middle, end, every)
            if fit.any() or check.any():  # otherwise there is nothing to estimate from
                yield fit, check, float(held(losses, unseen, last, every).mean())


def rows(found: Sequence[tuple[Losses, Losses, float]]) -> Iterator[tuple[str, list[float], float]]:
    """Of each estimate: how often more is lost than allowed, by the share kept back; the median of estimate / loss."""
    for name, estimate in ESTIMATES.items():
        said = np.array([estimate(fit, check) for fit, check, _ in found])
        lost = np.array([unseen for *_, unseen in found])
        missed = [float((lost * (1 - kept) > said).mean()) for kept in KEPT]
        yield name, missed, float(np.median(said[lost > 0] / lost[lost > 0]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", nargs="+", help="names of pairs.toml")
    parser.add_argument("--corpus", type=pathlib.Path, default=CORPUS, help="folder with pairs.toml")
    parser.add_argument("--frames", type=int, help="at most this many frames of each clip")
    parser.add_argument("--threads", type=int, default=2, help="of each session [2]")
    given = parser.parse_args()
    sys.path.insert(0, str(given.corpus))
    found = [c for name in given.pair for c in cases(stale(Pair(name, given.corpus, given.frames), given.threads))]
    print(f"{len(found)} cases\n")
    print("| estimate | " + " | ".join(f"missed, {k:g} kept back" for k in KEPT) + " | estimate : loss, median |")
    print("|" + "---|" * (len(KEPT) + 2))
    for name, missed, ratio in rows(found):
        print(f"| {name} | " + " | ".join(f"{100 * m:.1f} %" for m in missed) + f" | {ratio:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
