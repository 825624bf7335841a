"""What the metrics share: the protocol, picking outputs, batches, and the check that outputs fit."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np

from rrm_onnx.distance import Array
from rrm_onnx.errors import MetricError

Reading = TypeVar("Reading")


class Metric(Protocol):
    """Compares the answers of the original and of the converted model on one frame."""

    @property
    def kind(self) -> str:
        """`l2`, `yolox`, ..., or the name of a function."""

    @property
    def is_error(self) -> bool:
        """True: 0 is the same answer, and a budget is the largest mean. False: 1 is the same, the least mean."""

    def __call__(self, truth: Sequence[Array], got: Sequence[Array]) -> float:
        """truth, got: all outputs of the original and of the converted model, in the model's order."""

    def check(self, truth: Sequence[Array]) -> None:
        """Raises MetricError where these outputs of the original do not fit the metric. To be called once, first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement(ABC, Generic[Reading]):
    """A metric that reads the outputs of either side by itself, row by row of the batch, and compares the readings."""

    kind: ClassVar[str]
    is_error: ClassVar[bool] = False

    @abstractmethod
    def indices(self, outputs: Sequence[Array]) -> Sequence[int]:
        """Which outputs are read; MetricError where they are not there."""

    @abstractmethod
    def rows(self, arrays: Sequence[Array]) -> Sequence[Reading]:
        """One reading for each row of the batch. arrays: those that `indices` names, numeric, none in float16."""

    @abstractmethod
    def compare(self, truth: Reading, got: Reading) -> float:
        """Agreement of two readings, 0 to 1."""

    def __call__(self, truth: Sequence[Array], got: Sequence[Array]) -> float:
        if len(truth) != len(got):
            raise MetricError(f"metric {self.kind}: {len(truth)} outputs are compared with {len(got)}")
        want = self.rows(self._read(truth))
        if not all(np.isfinite(got[i]).all() for i in self.indices(got)):
            return 0.0  # the original's are finite
        answer = self.rows(self._read(got))
        if len(want) != len(answer):
            raise MetricError(f"metric {self.kind}: a batch of {len(want)} is compared with one of {len(answer)}")
        if not want:
            raise MetricError(f"metric {self.kind}: the batch is empty")
        return float(np.mean([self.compare(a, b) for a, b in zip(want, answer, strict=True)]))

    def check(self, truth: Sequence[Array]) -> None:
        self.rows(self._read(truth))

    def _read(self, outputs: Sequence[Array]) -> list[Array]:
        indices = self.indices(outputs)
        return [checked(outputs[i], i, self.kind) for i in indices]


def checked(output: Array, index: int, kind: str) -> Array:
    """An output of the original, float16 as float32; MetricError where it holds no finite numbers."""
    if output.dtype.kind not in "fiub":
        raise MetricError(f"metric {kind}: output {index} holds {output.dtype}, not numbers")
    if not np.isfinite(output).all():
        hint = "look at the original model: does it take these pictures (--order, --mean, --std)?"
        raise MetricError(f"metric {kind}: output {index} of the original is not finite", hint)
    return output.astype(np.float32) if output.dtype == np.float16 else output


def require(outputs: Sequence[Array], wanted: Sequence[int], kind: str) -> None:
    """MetricError where the model has no such output."""
    for index in wanted:
        if index >= len(outputs):
            count = f"{len(outputs)} output{'s' * (len(outputs) > 1)}"
            raise MetricError(f"metric {kind} reads output {index}, the model has {count}", "the first output is 0")


def unfit(kind: str, output: Array, wanted: str, hint: str | None = None) -> MetricError:
    """The error of an output whose shape a metric cannot read."""
    return MetricError(f"metric {kind}: an output of shape {list(output.shape)} is no {wanted}", hint)
