"""Trials for the tests of the search: costs and losses are formulas, so that the best setting is known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from rrm_onnx.calibrate.points import Point, Setting
from rrm_onnx.calibrate.record import Stretch
from rrm_onnx.calibrate.search import Found, Search, margin
from rrm_onnx.calibrate.trial import Outcome

ALLOWED = 0.05
FRAMES = 400
TARGET = ALLOWED * (1 - margin(FRAMES))
NONE = 1e-4  # what a threshold of 0 still holds back


class Fake:
    """A gate with threshold t costs `costs / t` and loses `losses * t`. Then thresholds in proportion to
    sqrt(costs / losses) are best. The first gate is the one behind the picture."""

    def __init__(self, costs, losses, noise: float = 0.0) -> None:
        self.costs, self.losses, self.noise = np.asarray(costs, float), np.asarray(losses, float), noise
        self.points = [Point(f"gate {k}", f"gate {k}", entry=k == 0) for k in range(len(costs))]
        self.recording = SimpleNamespace(fit=[Stretch(0, FRAMES)], shaken=[])
        self.runs: list[tuple[Setting, Outcome]] = []

    def uniform(self, threshold: float) -> Setting:
        return Setting((threshold,) * len(self.points))

    def cost(self, setting: Setting) -> float:
        return float((self.costs / (np.array(setting.thresholds) + NONE)).sum())

    def loss(self, setting: Setting) -> float:
        return float((self.losses * np.array(setting.thresholds)).sum())

    def shaken(self, setting: Setting) -> float:
        return self.loss(setting)

    def fast(self, setting: Setting) -> float:
        return self.loss(setting)

    def run(self, setting: Setting, stretches) -> Outcome:
        if stretches is self.recording.shaken:
            return Outcome(self.shaken(setting), 0.0, 0.0, 0.0, 0.0)
        if stretches == [s.fast for s in self.recording.fit]:
            assert setting.period > 1  # without turns, a loss hardly grows with speed
            return Outcome(self.fast(setting), 0.0, 0.0, 0.0, 0.0)
        assert stretches is self.recording.fit and all(np.isfinite(setting.thresholds))
        loss, cost = self.loss(setting), self.cost(setting)
        wobble = 1 + self.noise * math.sin(1e3 * loss)
        self.runs.append((setting, Outcome(loss * wobble, loss * (1 + self.noise), cost, cost, 0)))
        return self.runs[-1][1]

    def best_cost(self) -> float:
        return float(np.sqrt(self.costs * self.losses).sum() ** 2 / TARGET)

    def uniform_cost(self) -> float:
        return float(self.costs.sum() * self.losses.sum() / TARGET)


def searched(trial: Fake, *, shaken: bool = False, seconds: float = 1e6) -> Found:
    trial.recording.shaken = [Stretch(FRAMES, FRAMES + 12)] if shaken else []
    return Search(trial, ALLOWED, seconds).run()
