"""What a comparison measured, and the figures that follow from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Side:
    """Seconds per frame, wall-clock and of the whole process's CPU time; frame 0 comes first and counts for nothing."""

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]

    @property
    def total(self) -> float:
        """Wall-clock seconds over the frames after the first."""
        return float(sum(self.seconds[1:]))

    @property
    def cpu_total(self) -> float:
        return float(sum(self.cpu_seconds[1:]))

    def to_dict(self) -> dict[str, float]:
        """Milliseconds: mean, median and 99th percentile over the frames after the first, and the first alone."""
        ms = np.asarray(self.seconds[1:]) * 1e3
        return {
            "ms": float(ms.mean()),
            "median_ms": float(np.median(ms)),
            "p99_ms": float(np.percentile(ms, 99)),
            "first_ms": self.seconds[0] * 1e3,
            "cpu_ms": self.cpu_total / len(ms) * 1e3,
        }


@dataclasses.dataclass(frozen=True)
class Rival:
    """Another way to run the original. error: as that of the converted model, against the original."""

    side: Side
    error: float

    def to_dict(self) -> dict[str, float]:
        return {**self.side.to_dict(), "error": self.error}


@dataclasses.dataclass(frozen=True)
class Result:
    """Dense against converted over the frames after the first.

    error: relative L2 of the worst output, mean over the frames; worst_error: its maximum. hold2_error: the error of
    running dense on every 2nd frame only and repeating its answer. macs_share: multiply-accumulates done over those of
    the original; where the sizes of what stays dense are unknown, of the rrm operators alone; None where the library
    does not say. rivals: what else was timed on the same frames. nodes: `InferenceSession.stats` of the converted model
    over the frames that count.
    """

    frames: int
    threads: int
    dense: Side
    converted: Side
    error: float
    worst_error: float
    hold2_error: float
    macs_share: float | None
    rivals: Mapping[str, Rival] = dataclasses.field(default_factory=dict)
    nodes: Sequence[Mapping[str, Any]] = ()

    @property
    def ratio(self) -> float:
        """How many times less time the converted model takes: summed times over the frames after the first."""
        return self.dense.total / self.converted.total

    @property
    def cpu_ratio(self) -> float:
        return self.dense.cpu_total / max(self.converted.cpu_total, 1e-9)

    def ratio_to(self, rival: str) -> float:
        """As `ratio`, against a rival."""
        return self.rivals[rival].side.total / self.converted.total

    def to_dict(self) -> dict[str, Any]:
        rivals = {name: {**rival.to_dict(), "ratio": self.ratio_to(name)} for name, rival in self.rivals.items()}
        return {
            "frames": self.frames,
            "threads": self.threads,
            "dense": self.dense.to_dict(),
            "converted": self.converted.to_dict(),
            "ratio": self.ratio,
            "cpu_ratio": self.cpu_ratio,
            "error": self.error,
            "worst_error": self.worst_error,
            "hold2_error": self.hold2_error,
            "macs_share": self.macs_share,
            **({"rivals": rivals} if rivals else {}),
        }
