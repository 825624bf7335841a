"""Metrics of numbers without places: relative L2 error, class probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rrm_onnx.calibrate.metrics.base import Agreement, checked, require, unfit
from rrm_onnx.calibrate.metrics.parameters import flag, outputs, parameter, whole
from rrm_onnx.distance import Array, worst_error
from rrm_onnx.errors import MetricError

SUM = 0.02  # how far from 1 probabilities may add up to: float16 and int8 networks round


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelativeL2:
    """|got - truth| / |truth| (Euclidean norms over a whole output), of the worst floating-point output.

    output: which outputs count, `0+2`; all by default. An answer that is not finite has the error infinity.
    """

    kind: ClassVar[str] = "l2"
    is_error: ClassVar[bool] = True
    output: tuple[int, ...] | None = parameter(None, outputs)

    def __call__(self, truth: Sequence[Array], got: Sequence[Array]) -> float:
        if len(truth) != len(got):
            raise MetricError(f"metric l2: {len(truth)} outputs are compared with {len(got)}")
        indices = self._indices(truth)
        found = worst_error([got[i] for i in indices], [truth[i] for i in indices])
        return found if found == found else float("inf")

    def check(self, truth: Sequence[Array]) -> None:
        for i in self._indices(truth):
            if not checked(truth[i], i, self.kind).any():
                others = [k for k in self._indices(truth) if truth[k].any()]
                hint = "name another metric, or begin at a frame that has an answer"
                if others:
                    hint = f"leave it out: l2:output={'+'.join(map(str, others))}"
                raise MetricError(f"metric l2: output {i} of the original is zero all over: no relative error", hint)

    def _indices(self, truth: Sequence[Array]) -> list[int]:
        """The outputs that count: floating-point ones where there are any, as `worst_error` has it."""
        require(truth, self.output or (), self.kind)
        wanted = [i for i in self.output or range(len(truth)) if truth[i].dtype.kind in "fiub"]
        floats = [i for i in wanted if truth[i].dtype.kind == "f"]
        if not wanted:
            raise MetricError("metric l2: the model has no output of numbers", "write a function: FILE.py:NAME")
        return floats or wanted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probabilities(Agreement[Array]):
    """1 - sum |p - q| / 2 over the classes: 1 - total variation distance of two distributions.

    output: [batch, classes], trailing axes of 1 allowed. logits: the output goes through a softmax first.
    """

    kind: ClassVar[str] = "probabilities"
    output: int = parameter(0, whole())
    logits: bool = parameter(False, flag)

    def indices(self, outputs: Sequence[Array]) -> Sequence[int]:
        require(outputs, (self.output,), self.kind)
        return (self.output,)

    def rows(self, arrays: Sequence[Array]) -> Sequence[Array]:
        (x,) = arrays
        found = x.astype(np.float64).reshape(1, -1) if x.ndim < 2 else x.astype(np.float64).reshape(len(x), -1)
        if not self.logits:
            return list(found)
        powers = np.exp(found - found.max(axis=1, keepdims=True))
        return list(powers / powers.sum(axis=1, keepdims=True))

    def compare(self, truth: Array, got: Array) -> float:
        if truth.shape != got.shape:
            raise MetricError(f"metric probabilities: {truth.size} classes are compared with {got.size}")
        return float(np.clip(1 - np.abs(truth - got).sum() / 2, 0, 1))

    def check(self, truth: Sequence[Array]) -> None:
        super().check(truth)
        x = truth[self.output]
        if x.size == 0 or (x.ndim > 1 and x.size != x.shape[0] * x.shape[1]):
            raise unfit(self.kind, x, "list of class probabilities", "a map of classes is read by: mask")
        for row in self.rows([x]):
            if row.min() < -SUM or abs(row.sum() - 1) > SUM:
                message = (
                    f"metric probabilities: output {self.output} adds up to {row.sum():.3g}, smallest {row.min():.3g}"
                )
                raise MetricError(message, "for scores before a softmax: probabilities:logits=true")
