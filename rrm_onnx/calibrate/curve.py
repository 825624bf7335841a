"""What a calibrated model is to be held against, at the same losses and costs: the original on some frames only, one
threshold for all gates, and the original on frames that moved enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rrm_onnx.calibrate.points import Setting
from rrm_onnx.calibrate.record import Recording, Stretch
from rrm_onnx.calibrate.trial import Trial, sensible

FACTORS = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)  # on the thresholds that were found
UNIFORM = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
HELD = (2, 3, 4, 5)
MOVED = (0.25, 0.5, 0.75, 0.9)  # shares of the frames that a motion gate passes over


@dataclass(frozen=True)
class Entry:
    """One way to run the model. kind: `exact`, `calibrated`, `uniform`, `hold` or `motion gate`; value: the factor on
    the thresholds, the threshold, every how many frames, the share of the input's RMS; loss: mean over the frames;
    cost: ms a frame as modelled, of the original's ways its ms on the frames that it is run on; macs: share done of the
    multiply-accumulates inside the regions."""

    kind: str
    value: float
    loss: float
    cost: float
    macs: float

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "value": self.value, "loss": self.loss, "cost_ms": self.cost, "macs": self.macs}


def curve(
    trial: Trial, setting: Setting, stretches: Sequence[Stretch], step: Callable[[int, int], None] = lambda *_: None
) -> list[Entry]:
    """The setting at several factors, and the alternatives, on these stretches. step: called with how many are done,
    and of how many."""
    tries = [("exact", 0.0, trial.uniform(0.0))]
    if any(setting.thresholds):
        tries += [("calibrated", f, setting.scaled(f)) for f in FACTORS]
    tries += [("uniform", t, trial.uniform(t)) for t in UNIFORM]
    found = []
    for k, (kind, value, tried) in enumerate(tries):
        step(k, len(tries))
        outcome = trial.run(tried, stretches)
        found.append(Entry(kind, value, outcome.loss, outcome.cost, outcome.macs))
    step(len(tries), len(tries))
    return found + held(trial.recording, trial.loss, stretches) + gated(trial.recording, trial.loss, stretches)


def held(recording: Recording, loss: Any, stretches: Sequence[Stretch]) -> list[Entry]:
    """The original on every k-th frame, its answer repeated in between."""
    found = []
    for every in HELD:
        if any(len(s) <= every for s in stretches):
            break
        runs = [[t for t in range(s.first, s.end) if (t - s.first) % every == 0] for s in stretches]
        found.append(_repeated("hold", every, recording, loss, stretches, runs))
    return found


def gated(recording: Recording, loss: Any, stretches: Sequence[Stretch]) -> list[Entry]:
    """The original on the frames whose input has moved, by more than a limit, from that of the frame it ran on last.
    Changes from frame to frame are summed: a bound of what moved in between."""
    changes = np.array([recording.changes[t] for s in stretches for t in range(s.first + 1, s.end)])
    found = []
    for share in MOVED:
        limit = float(np.quantile(changes, share)) / max(1e-9, 1 - share)
        runs = []
        for s in stretches:
            chosen, moved = [s.first], 0.0
            for t in range(s.first + 1, s.end):
                moved += recording.changes[t]
                if moved > limit:
                    chosen.append(t)
                    moved = 0.0
            runs.append(chosen)
        found.append(_repeated("motion gate", limit, recording, loss, stretches, runs))
    return found


def _repeated(
    kind: str,
    value: float,
    recording: Recording,
    loss: Any,
    stretches: Sequence[Stretch],
    runs: Sequence[Sequence[int]],
) -> Entry:
    losses, count, done = list[float](), 0, 0
    for stretch, chosen in zip(stretches, runs, strict=True):
        fresh, last = set(chosen), recording.truth(stretch.first)
        for t in range(stretch.first + 1, stretch.end):
            truth = recording.truth(t)
            if t in fresh:
                last = truth
            losses.append(0.0 if t in fresh else sensible(float(loss(truth, last)), t))
        count += len(stretch) - 1
        done += len(fresh) - 1
    share = done / count
    return Entry(kind, value, float(np.mean(losses)), recording.dense_ms * share, share)
