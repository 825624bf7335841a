"""One setting of all gates, tried on the recorded frames: what it costs and what it loses.

The converted model runs over whole stretches of the clip with its real state, so that errors which add up over depth
and time are in what is measured.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rrm_onnx import pipeline, yardstick
from rrm_onnx.calibrate.points import BEYOND, Point, Setting, apply, figure, measured_scales, points_of
from rrm_onnx.calibrate.record import Recording, Stretch
from rrm_onnx.errors import CalibrationError, RrmError
from rrm_onnx.types import Options

ERRORS = 2.0  # standard errors in the bound of a loss
BLOCKS = 8  # parts of the frames, whose means tell how sure the mean of all is
LEARNT = (0.0, 0.01, 0.04, 0.15, BEYOND)  # thresholds that the model of costs learns from: everything to nothing ...
REPEATS, LEARNT_FRAMES = 3, 16  # ... so often each where there is time, over so many frames
SLOW = 100.0  # ms a frame of the original, from which on one repeat has to do: a disturbance is short beside it
START = 0.02  # thresholds of the model that is calibrated: above 0, so that kernels for tolerances stand ready
SENSELESS = 1e6  # a loss above it is the division by an answer that is zero


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a setting gave on some stretches.

    loss: mean over the frames (of an agreement: 1 less it). bound: the mean and ERRORS standard errors of it,
    by the means of blocks of neighbouring frames. ms: a frame, as the clock had it; cost: as the model of costs has it,
    which does not know what else the machine did. macs: share of the multiply-accumulates done, of those inside.
    """

    loss: float
    bound: float
    ms: float
    cost: float
    macs: float
    nodes: Sequence[Mapping[str, Any]] = ()

    def to_dict(self) -> dict[str, float]:
        return {"loss": self.loss, "ms": self.ms, "cost_ms": self.cost, "macs": self.macs}


class CostModel:
    """Milliseconds a frame by the sites that each node computes: a line per node through what some runs took, and what
    onnxruntime and the dense nodes take besides.

    A clock also counts what else the machine does; so runs are learnt from in repeats, and the quickest counts.
    """

    def __init__(self) -> None:
        self._lines: dict[str, tuple[float, float]] = {}  # by node: nanoseconds of a frame, and of each active site
        self._seen: dict[str, dict[float, float]] = {}  # by node: active sites, nanoseconds; of a frame
        self._outside = math.inf

    def learn(self, nodes: Sequence[Mapping[str, Any]], frames: int, ms: float) -> None:
        """What a run of so many frames of `ms` each took. A repeat has the same active sites."""
        for n in nodes:
            active, ns = n["active"] / frames, n["ns"] / frames
            seen = self._seen.setdefault(n["name"], {})
            seen[active] = min(ns, seen.get(active, ns))
        self._lines = {name: line(list(seen.items())) for name, seen in self._seen.items()}
        self._outside = min(self._outside, max(0.0, ms - sum(n["ns"] for n in nodes) / frames / 1e6))

    def cost(self, nodes: Sequence[Mapping[str, Any]], frames: int) -> float:
        parts = ((self._lines[n["name"]], n["active"] / frames) for n in nodes)
        return float(sum(fixed + each * active for (fixed, each), active in parts)) / 1e6 + self._outside


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(a, b) of y = a + b x, neither below zero, by least squares."""
    x, y = np.array(points, float).T
    spread = float(((x - x.mean()) ** 2).sum())
    b = float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 1e-9 * float((x**2).sum()) else 0.0
    a = float(y.mean() - b * x.mean())
    if b > 0 and a >= 0:
        return a, b
    if b > 0 or a < 0:  # through zero
        return 0.0, float((x * y).sum() / max((x**2).sum(), 1e-12))
    return float(y.mean()), 0.0


def prepare(model: Any, options: Options) -> tuple[pipeline.Planned, pipeline.Converted]:
    """The converted model for trials. Raises RrmError where it cannot be made, or has no gates."""
    planned = pipeline.decide(model, dataclasses.replace(options, tolerance=START, thresholds=None))
    converted = pipeline.write(planned)
    if converted.report.unchanged:
        raise CalibrationError(
            f"there is nothing to calibrate: {converted.report.unchanged}", hint="run the original as it is"
        )
    return planned, converted


class Trial:
    """A converted model on a recording, tried with one setting after the other."""

    def __init__(
        self,
        prepared: tuple[pipeline.Planned, pipeline.Converted],
        recording: Recording,
        loss: Any,
        *,
        threads: int,
        until: float = math.inf,
        step: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """prepared: what `prepare` gives. loss: (truth, got) -> float of one frame, 0 = the same answer. until: by
        time.monotonic, costs are learnt once only from then on. step: called with how many of the runs that costs are
        learnt from are done, and of how many."""
        planned, converted = prepared
        self.digest, self.recording, self.loss = planned.digest, recording, loss
        self.points: list[Point] = points_of(planned, converted)
        self.session = yardstick.converted_session(converted.model, threads)
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.costs = CostModel()
        self.scales = [0.0] * len(self.points)
        self.scales = self._measure_scales()
        self._learn_costs(until, step)

    def _measure_scales(self) -> list[float]:
        """The root of the mean square of each gate's tensor over a frame of each third of the stretches."""
        found = []
        apply(self.session, self.points, self.uniform(START), self.scales)
        for stretch in self.recording.fit:
            for t in np.linspace(stretch.first, stretch.end - 1, 3).astype(int):
                self.session.reset()
                yardstick.run(self.session, self.outputs, self.recording.feed(int(t)))
                found.append(measured_scales(self.session, self.points))
        return [figure(s) for s in np.sqrt(np.mean(np.square(found), axis=0))]

    def _learn_costs(self, until: float, step: Callable[[int, int], None]) -> None:
        """Everything once, for a line has to be known for each node; then again, as long as there is time."""
        short = [liveliest(self.recording)]
        runs = LEARNT * (REPEATS if self.recording.dense_ms < SLOW else 1)
        for k, threshold in enumerate(runs):
            step(k, len(runs))
            if k >= len(LEARNT) and time.monotonic() > until:
                return
            self._run(self.uniform(threshold), short, learn=True)
        step(len(runs), len(runs))

    def uniform(self, threshold: float) -> Setting:
        return Setting((threshold,) * len(self.points))

    def run(self, setting: Setting, stretches: Sequence[Stretch]) -> Outcome:
        """The setting on these stretches, each from a fresh state; a stretch's first frame does not count."""
        return self._run(setting, stretches)

    def _run(self, setting: Setting, stretches: Sequence[Stretch], learn: bool = False) -> Outcome:
        apply(self.session, self.points, setting, self.scales)
        losses, seconds = list[float](), list[float]()
        total: list[dict[str, Any]] = []
        for stretch in stretches:
            self.session.reset()
            for t in stretch.frames:
                if t == stretch.first + stretch.step:
                    self.session.reset_stats()
                feed = self.recording.feed(t)
                start = time.perf_counter()
                got = yardstick.run(self.session, self.outputs, feed)
                if t > stretch.first:
                    seconds.append(time.perf_counter() - start)
                    losses.append(0.0 if learn else self._loss(t, got))
            total = added(total, self.session.stats()["nodes"])
        ms = 1e3 * sum(seconds) / len(seconds)
        if learn:
            self.costs.learn(total, len(seconds), ms)
        done, dense = (sum(n[key] for n in total) for key in ("macs_done", "macs_dense"))
        mean, error = mean_and_error(losses)
        cost = self.costs.cost(total, len(seconds))
        return Outcome(mean, mean + ERRORS * error, ms, cost, done / max(dense, 1), total)

    def _loss(self, t: int, got: Sequence[yardstick.Array]) -> float:
        if t >= self.recording.footage:
            return self._shaken_loss(t, got)
        return sensible(float(self.loss(self.recording.truth(t), got)), t)

    def _shaken_loss(self, t: int, got: Sequence[yardstick.Array]) -> float:
        """Of a frame of our own making: what makes no sense there is a loss like any other."""
        try:
            loss = float(self.loss(self.recording.truth(t), got))
        except RrmError:
            return 1.0
        return loss if loss < 1 else 1.0


def sensible(loss: float, t: int) -> float:
    """The loss on frame t; CalibrationError where it says nothing."""
    if not loss < SENSELESS:  # nor NaN
        raise CalibrationError(
            f"the metric gives a loss of {loss:g} on frame {t}",
            hint="an answer there is zero all over, or not finite: leave such frames out, or choose another metric",
        )
    return loss


def liveliest(recording: Recording) -> Stretch:
    """The LEARNT_FRAMES of `fit` in which most moves: where nothing does, all settings cost the same."""
    ends = [(t, min(s.end, t + LEARNT_FRAMES)) for s in recording.fit for t in range(s.first, s.end)]
    moved = np.cumsum(np.minimum(recording.changes, 1.0))  # a cut counts as one frame
    return Stretch(*max(ends, key=lambda part: moved[part[1] - 1] - moved[part[0]]))


def added(total: list[dict[str, Any]], more: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Counts of two runs, node by node."""
    counts = ("active", "changed", "sites", "macs_dense", "macs_done", "ns")
    if not total:
        return [dict(n) for n in more]
    return [{**n, **{k: n[k] + m[k] for k in counts}} for n, m in zip(total, more, strict=True)]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and its standard error by the means of BLOCKS stretches of neighbours: what happens in one frame goes
    on in the next, so frames do not count as independent."""
    blocks = [b.mean() for b in np.array_split(np.asarray(values, float), min(BLOCKS, len(values)))]
    error = float(np.std(blocks, ddof=1) / math.sqrt(len(blocks))) if len(blocks) > 1 else 0.0
    return float(np.mean(values)), error
