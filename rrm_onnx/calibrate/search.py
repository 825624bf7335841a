"""The search for thresholds: the least cost at a loss that is allowed.

Thresholds are a common factor times a weight for each group of gates. At the best weights, raising any group's
thresholds a little buys the same cost for the same loss; so each round raises every group alone, by a fixed step, looks
what that buys, moves the weights towards where it buys more, and finds the factor anew that uses up what is allowed.
Each look is a run over the recorded frames with real state: losses that add up over depth and time, and gates that only
matter together, are in it.

A task's metric is blind to much: on a few dozen frames some setting is found that leaves the boxes where they are and
the outputs in ruins, and the next footage shows it. So half of what counts as lost is the distance of the raw outputs,
in units of that at which one threshold for all gates would use up what is allowed.

Then the thresholds' turns (`drift`, `period`) are tried on top, holding whole answers among them.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rrm_onnx.calibrate.points import Setting
from rrm_onnx.calibrate.trial import Outcome, Trial

FIRST = 0.02  # threshold that the search starts with
GROUPS = 16
ROUNDS = 4
STEP = 2.0
MARGINS = (0.2, 0.5)  # of the allowed loss, kept for footage that was not seen: with many frames, with few
SURE = 4.0  # over the number of frames and squared: the margin in between
TURNS = ((0.25, 4), (0.0, 4))
HOLDS = (2, 3, 5)
ENOUGH = 1.06  # two factors this close are one
BEYOND = 1e9  # a threshold that nothing passes
WEIGHTS = 64.0  # between a weight and the middle one
Floats = npt.NDArray[np.float64]
Report = Callable[[str, int, int, "Found"], None]


@dataclass
class Found:
    """What the search knows so far. setting: the best that keeps to the allowed loss, exact at first; sensitivity: by
    point, what doubling its group's thresholds added to the loss; uniform: the largest threshold that, at all gates,
    keeps to it."""

    setting: Setting
    outcome: Outcome
    sensitivity: Floats
    uniform: Setting | None = None
    tried: int = 0
    complete: bool = False
    log: list[dict[str, float]] = field(default_factory=list)


class OutOfTime(Exception):
    """The search has used up its time."""


class Search:
    """One search. allowed: the largest mean loss. report: called with a stage's name, steps done and in all, and what
    was found so far. raw: the loss is the distance of raw outputs itself."""

    def __init__(
        self, trial: Trial, allowed: float, seconds: float, report: Report = lambda *_: None, *, raw: bool = False
    ) -> None:
        self.trial, self.report = trial, report
        self.raw_distance_counts = not raw
        self.until = time.monotonic() + seconds
        self.target = allowed * (1 - margin(sum(len(s) for s in trial.recording.fit)))
        self.unit = 0.0  # loss for each unit of distance; 0: distances do not count
        exact = trial.uniform(0.0)
        outcome = trial.run(exact, trial.recording.fit, learn=True)
        self.found = Found(exact, outcome, np.zeros(len(trial.points)))
        self.groups = grouped([p.entry for p in trial.points])

    def run(self) -> Found:
        """Raises what a trial raises; `found` is what was known until then."""
        try:
            self._weights()
            self._turns()
            self.found.complete = True
        except OutOfTime:
            pass
        return self.found

    def _look(self, setting: Setting, learn: bool = False) -> Outcome:
        """Tries a setting; the best so far is kept."""
        if time.monotonic() > self.until:
            raise OutOfTime
        outcome = self.trial.run(setting, self.trial.recording.fit, learn)
        self.found.tried += 1
        self.found.log.append({"drift": setting.drift, "period": setting.period, **outcome.to_dict()})
        if self._allows(outcome) and outcome.cost < self.found.outcome.cost:
            self.found.setting, self.found.outcome = setting, outcome
        return outcome

    def _lost(self, outcome: Outcome) -> float:
        return (outcome.loss + self.unit * outcome.distance) / 2 if self.unit else outcome.loss

    def _allows(self, outcome: Outcome) -> bool:
        return outcome.bound <= self.target and self._lost(outcome) <= self.target

    def _weights(self) -> None:
        count = int(self.groups.max()) + 1
        weights, step = np.ones(count), STEP
        shape = Setting((), 1.0, 1)
        best: Outcome | None
        factor, best = self._factor(self._spread(weights, shape), FIRST, learn=True)
        if best is not None:
            self.found.uniform = self.trial.uniform(factor)
            self.unit = self.target / best.distance if self.raw_distance_counts and best.distance > 0 else 0.0
        steps = ROUNDS * count
        for k in range(ROUNDS):
            base = self._look(self._spread(weights, shape).scaled(factor))
            gains = np.zeros(count)
            for g in range(count):
                self.report("weights", k * count + g, steps, self.found)
                raised = weights.copy()
                raised[g] *= step
                outcome = self._look(self._spread(raised, shape).scaled(factor))
                lost = self._lost(outcome) - self._lost(base)
                self.found.sensitivity[self.groups == g] = max(lost, 0.0) / (step - 1)
                gains[g] = gain(base.cost, outcome.cost, lost, self.target)
            tried = moved(weights, gains, step)
            moved_factor, better = self._factor(self._spread(tried, shape), factor)
            if better is not None and (best is None or better.cost < best.cost):
                weights, factor, best = tried, moved_factor, better
            else:
                step = 1 + (step - 1) * 0.6

    def _spread(self, weights: Floats, like: Setting) -> Setting:
        """The weights as thresholds of all points."""
        return dataclasses.replace(like, thresholds=tuple(float(w) for w in weights[self.groups]))

    def _factor(self, shape: Setting, start: float, learn: bool = False) -> tuple[float, Outcome | None]:
        """The largest factor on `shape` whose loss is allowed, near `start`, and its outcome; None: there is none."""
        low: tuple[float, Outcome] | None = None
        high: float | None = None
        factor = start
        for _ in range(7):
            outcome = self._look(shape.scaled(factor), learn)
            if self._allows(outcome):
                low = (factor, outcome)
                factor = factor * 1.5 if high is None else math.sqrt(factor * high)
            else:
                high = factor
                factor = factor / 1.5 if low is None else math.sqrt(factor * low[0])
            if low is not None and high is not None and high / low[0] < ENOUGH:
                break
        return low if low is not None else (start, None)

    def _turns(self) -> None:
        """Turns on top of the weights that were found, and whole answers that are held."""
        plain = self.found.setting
        steps = len(HOLDS) + len(TURNS)
        for k, period in enumerate(HOLDS):
            self.report("turns", k, steps, self.found)
            self._look(dataclasses.replace(self.trial.uniform(BEYOND), drift=0.0, period=period))
        for k, (drift, period) in enumerate(TURNS):
            self.report("turns", len(HOLDS) + k, steps, self.found)
            if any(plain.thresholds):
                self._factor(dataclasses.replace(plain, drift=drift, period=period), 1.5)
        self.report("turns", steps, steps, self.found)


def grouped(entries: Sequence[bool]) -> npt.NDArray[np.int64]:
    """The group of each point: those behind pictures are one, the others GROUPS runs of neighbours of about one
    length."""
    inner = [k for k, entry in enumerate(entries) if not entry]
    groups = np.zeros(len(entries), np.int64)
    count = min(GROUPS - 1, len(inner))
    first = int(any(entries))
    for place, k in enumerate(inner):
        groups[k] = first + place * count // len(inner)
    return groups


def margin(frames: int) -> float:
    """The share of the allowed loss that is kept back: what so many frames say is sure to about 1 / sqrt(frames)."""
    return float(np.clip(math.sqrt(SURE / max(frames, 1)), *MARGINS))


def gain(before: float, after: float, lost: float, allowed: float) -> float:
    """What raising a group bought: the logarithm of the cost that it saved, over the loss that it added. Losses below a
    hundredth of what is allowed cannot be told from none."""
    saved = math.log(max(before, 1e-9) / max(after, 1e-9))
    return max(saved, 1e-4) / max(lost, 0.01 * allowed, 1e-9)


def moved(weights: Floats, gains: Floats, step: float) -> Floats:
    """The weights, moved by at most `step` to where more is gained, their geometric mean kept."""
    relative = gains / np.exp(np.median(np.log(gains)))
    found: Floats = weights * np.clip(np.sqrt(relative), 1 / step, step)
    found /= np.exp(np.log(found).mean())
    return np.asarray(np.clip(found, 1 / WEIGHTS, WEIGHTS))
