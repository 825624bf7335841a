"""The search for thresholds: the least cost at a loss that is allowed.

Thresholds are a common factor times a weight for each group of gates. At the best weights, raising any group's
thresholds a little buys the same cost for the same loss; so each round raises every group alone, by a fixed step, looks
what that buys, moves the weights towards where it buys more, and finds the factor anew that uses up what is allowed.
Each look is a run over the recorded frames with real state: losses that add up over depth and time, and gates that only
matter together, are in it.

Footage in which a part of the scene stands still says nothing about what its gates lose once it moves. So a few frames
are moved by some pixels, which changes everything in them, and the loss on these (`shaken`) counts for half and has its
limit, too. Where the footage moves both losses are about equal; where it is still, smaller thresholds cost little.

Then the thresholds' turns (`drift`, `period`) are tried on top: slow changes that pass now and then, and thresholds
that count in some frames only. Before all that, whole answers that are held. What these lose grows with how fast things
move; so they have to keep to the allowed loss on the same frames at a higher speed, too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from rrm_onnx.calibrate.points import BEYOND, Setting
from rrm_onnx.calibrate.trial import Outcome, Trial

FIRST = 0.02  # threshold that the search starts with
GROUPS = 16
ROUNDS = 4
STEP = 2.0
GUARD = 1.0  # times the allowed loss: what the shaken frames may lose, and what turns may at a higher speed
MARGINS = (0.25, 0.6)  # of the allowed loss, kept for footage that was not seen: with many frames, with few ...
SURE = 7.0  # ... and this over their number is the square of the margin in between
TURNS = ((0.25, 4),)  # drift, period: slow changes pass in every fourth frame
HOLDS = (2, 3, 4, 5)  # periods of whole answers that are held
SPARSE = (2, 3)  # periods in which nothing passes but in the last frame, and there what is over the thresholds
WORTH = 0.97  # of the cost without turns: less of a gain is none ...
WORTH_BOTH = 0.8  # ... nor is this, where thresholds and age both lose: no guard sees the two together
UP, DOWN = 1.5, 3.0  # what a factor is multiplied with that is allowed, and divided by that is not
ENOUGH = 1.06  # two factors this close are one
WEIGHTS = 64.0  # between a weight and the middle one
Floats = npt.NDArray[np.float64]
Report = Callable[[str, int, int, "Found"], None]


@dataclass
class Found:
    """What the search knows so far. setting: the best that keeps to the allowed loss, exact at first; sensitivity: by
    point, what doubling its group's thresholds added to the loss; uniform: about the largest threshold that
    keeps to it at all gates; best: of each kind of turns, (drift, period), the best and its cost; stale: periods of
    whole answers that are not held only because at a higher speed they would lose too much."""

    setting: Setting
    outcome: Outcome
    sensitivity: Floats
    uniform: Setting | None = None
    best: dict[tuple[float, int], tuple[float, Setting]] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)
    complete: bool = False
    log: list[dict[str, float]] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """How many settings."""
        return len(self.log)

    def candidates(self) -> list[Setting]:
        """The best setting of each kind of turns, from the cheapest on: what is left where frames that were not
        searched on do not bear one out."""
        others = [s for _, s in sorted(self.best.values(), key=lambda found: charged(found[1], found[0]))]
        return list(dict.fromkeys([self.setting, *others]))  # which may be the exact one


@dataclass(frozen=True)
class Tried:
    """What a setting gave on the frames to search on, and its mean losses on the shaken ones and at a higher speed, 0
    where not tried."""

    outcome: Outcome
    shaken: float
    fast: float = 0.0

    @property
    def lost(self) -> float:
        return (self.outcome.loss + self.shaken) / 2

    @property
    def cost(self) -> float:
        return self.outcome.cost


class OutOfTime(Exception):
    """The search has used up its time."""


class Search:
    """One search. allowed: the largest mean loss. report: called with a stage's name, steps done and in all, and what
    was found so far."""

    def __init__(self, trial: Trial, allowed: float, seconds: float, report: Report = lambda *_: None) -> None:
        self.trial, self.report = trial, report
        self.until = time.monotonic() + seconds
        self.guard = GUARD * allowed
        self.target = allowed * (1 - margin(sum(len(s) for s in trial.recording.fit)))
        self.target_unfitted = allowed * (1 - MARGINS[0])
        exact = trial.uniform(0.0)
        outcome = trial.run(exact, trial.recording.fit)
        self.found = Found(exact, outcome, np.zeros(len(trial.points)))
        self.groups = grouped([p.entry for p in trial.points])

    def run(self) -> Found:
        """Raises what a trial raises; `found` is what was known until then."""
        try:
            self._holds()
            self._weights()
            self._turns()
            self.found.complete = True
        except OutOfTime:
            pass
        return self.found

    def _look(self, setting: Setting, guarded: bool = True) -> Tried:
        """Tries a setting; the best so far is kept. guarded: on the shaken frames as well."""
        if time.monotonic() > self.until:
            raise OutOfTime
        recording = self.trial.recording
        outcome = self.trial.run(setting, recording.fit)
        shaken = outcome.loss if guarded else 0.0
        if guarded and recording.shaken:
            shaken = self.trial.run(setting, recording.shaken).loss
        tried = Tried(outcome, shaken)
        if setting.period > 1 and self._allows(setting, tried):
            tried = replace(tried, fast=self.trial.run(setting, [s.fast for s in recording.fit]).loss)
            if setting.held and not self._allows(setting, tried):
                self.found.stale.add(setting.period)
        turns = {"drift": setting.drift, "period": setting.period}
        self.found.log.append({**turns, **outcome.to_dict(), "shaken": shaken, "fast": tried.fast})
        if self._allows(setting, tried):
            self._keep(setting, outcome)
        return tried

    def _keep(self, setting: Setting, outcome: Outcome) -> None:
        """One that is allowed, if it is better than what is known."""
        found, turns = self.found, (setting.drift, setting.period)
        if turns not in found.best or outcome.cost < found.best[turns][0]:
            found.best[turns] = (outcome.cost, setting)
        if charged(setting, outcome.cost) < charged(found.setting, found.outcome.cost):
            found.setting, found.outcome = setting, outcome

    def _allows(self, setting: Setting, tried: Tried) -> bool:
        """Whole answers that are held are not fitted to the frames, as thresholds are: there the bound is enough to say
        that the frames are few."""
        target = self.target_unfitted if setting.held else self.target
        return tried.outcome.bound <= target and max(tried.shaken, tried.fast) <= self.guard

    def _holds(self) -> None:
        """Whole answers that are held. These come first, for they take a few looks only: a slow network's time may be
        over before the weights are found."""
        for k, every in enumerate(HOLDS):
            self.report("holding", k, len(HOLDS), self.found)
            if not all(s.shows(every) for s in self.trial.recording.fit):
                break
            self._look(replace(self.trial.uniform(BEYOND), drift=0.0, period=every), guarded=False)
        self.report("holding", len(HOLDS), len(HOLDS), self.found)

    def _weights(self) -> None:
        count = int(self.groups.max()) + 1
        weights, step = np.ones(count), STEP
        best: Tried | None
        factor, best = self._factor(self._spread(weights), FIRST)
        self.found.uniform = None if best is None else self.trial.uniform(factor)
        steps = ROUNDS * count
        for k in range(ROUNDS):
            base = self._look(self._spread(weights).scaled(factor))
            gains = np.zeros(count)
            for g in range(count):
                self.report("weights", k * count + g, steps, self.found)
                raised = weights.copy()
                raised[g] *= step
                tried = self._look(self._spread(raised).scaled(factor))
                lost = tried.lost - base.lost
                self.found.sensitivity[self.groups == g] = max(lost, 0.0) / (step - 1)
                gains[g] = gain(base.cost, tried.cost, lost, self.target)
            other = moved(weights, gains, step)
            moved_factor, better = self._factor(self._spread(other), factor)
            if better is not None and (best is None or better.cost < best.cost):
                weights, factor, best = other, moved_factor, better
            else:
                step = 1 + (step - 1) * 0.6

    def _spread(self, weights: Floats) -> Setting:
        """The weights as thresholds of all points."""
        return Setting(tuple(float(w) for w in weights[self.groups]))

    def _factor(self, shape: Setting, start: float, guarded: bool = True) -> tuple[float, Tried | None]:
        """The largest factor on `shape` whose loss is allowed, near `start`, and what it gave; None: there is none, and
        the factor is one to go on from. Not guarded: at most 1, for those of `shape` have passed the guard."""
        low: tuple[float, Tried] | None = None
        high: float | None = None
        factor = start
        for _ in range(7):
            tried = self._look(shape.scaled(factor), guarded)
            if self._allows(shape, tried):
                low = (factor, tried)
                if not guarded and factor >= 1:
                    break
                factor = factor * UP if high is None else math.sqrt(factor * high)
            else:
                high = factor
                factor = factor / DOWN if low is None else math.sqrt(factor * low[0])
            if low is not None and high is not None and high / low[0] < ENOUGH:
                break
        return low if low is not None else (factor, None)

    def _turns(self) -> None:
        """Turns on top of the weights that were found."""
        _, plain = self.found.best.get((1.0, 1), (0.0, self.trial.uniform(0.0)))
        tries: list[Callable[[], object]] = []
        if any(plain.thresholds):
            for drift, period in TURNS:
                tries.append(partial(self._factor, replace(plain, drift=drift, period=period), 1.5))
            for every in SPARSE:
                sparse = replace(plain.scaled(BEYOND), drift=1 / BEYOND, period=every)
                tries.append(partial(self._factor, sparse, 1.0, guarded=False))
        for k, attempt in enumerate(tries):
            self.report("turns", k, len(tries), self.found)
            attempt()
        self.report("turns", len(tries), len(tries), self.found)


def charged(setting: Setting, cost: float) -> float:
    """What a cost counts in a choice between settings: turns have to be worth it."""
    if setting.period == 1:
        return cost
    return cost / (WORTH_BOTH if setting.sparse and not setting.held else WORTH)


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
