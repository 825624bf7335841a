"""What the tests of calibrations share: costs that no clock decides, metrics that break off when they are told to."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from small import cnn

from rrm_onnx import yardstick
from rrm_onnx.calibrate import search, trial
from rrm_onnx.calibrate.record import Recording, record
from rrm_onnx.calibrate.trial import CostModel


@pytest.fixture
def counted_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    count_costs(monkeypatch)


def count_costs(patch: pytest.MonkeyPatch) -> None:
    """A millisecond a frame, and one for each 100,000 multiply-accumulates done: the same on every machine. Little is
    learnt from the clock then, and the search goes fewer rounds."""

    def cost(_self: CostModel, nodes: Any, frames: int) -> float:
        return float(1 + sum(n["macs_done"] for n in nodes) / frames / 1e5)

    patch.setattr(CostModel, "cost", cost)
    patch.setattr(trial, "REPEATS", 1)
    patch.setattr(trial, "LEARNT_FRAMES", 3)
    patch.setattr(search, "ROUNDS", 2)


def closeness(truth: list[np.ndarray], got: list[np.ndarray]) -> float:
    """An agreement: 1 less the relative distance of the first output."""
    return float(1 - np.linalg.norm(truth[0] - got[0]) / np.linalg.norm(truth[0]))


class Breaking:
    """A metric and a progress, of which one raises `error` when stage `stage` is under way."""

    def __init__(self, stage: str, error: BaseException, by_metric: bool) -> None:
        self.stage, self.error, self.by_metric, self.now = stage, error, by_metric, False

    def progress(self, step: Any) -> None:
        first = 2 if step.stage in ("weights", "turns", "comparing") else 0
        self.now = step.stage == self.stage and step.done >= first
        if self.now and not self.by_metric:
            raise self.error

    def metric(self, truth: list[np.ndarray], got: list[np.ndarray]) -> float:
        if self.now and self.by_metric:
            raise self.error
        return closeness(truth, got)


def losses(model: onnx.ModelProto, converted: onnx.ModelProto, feeds: list[dict[str, np.ndarray]]) -> list[float]:
    """Relative L2 of the worst output on each frame but the first."""
    dense, fast = yardstick.dense_session(model, 1), yardstick.converted_session(converted, 1)
    names = [o.name for o in dense.get_outputs()]
    answers = [(yardstick.run(dense, names, f), yardstick.run(fast, names, f)) for f in feeds]
    return [max(yardstick.relative_l2(g, w) for g, w in zip(got, want, strict=True)) for want, got in answers[1:]]


def recorded(*clips: Any, model: onnx.ModelProto | None = None, check: Any = lambda truth: None) -> Recording:
    """Clips as a calibration keeps them, of a small network where none is given."""
    return record(model or cnn(size=32), clips, check, threads=1)
