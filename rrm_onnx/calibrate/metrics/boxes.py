"""Boxes: overlap, suppression of repeated ones, agreement of two sets, and what all metrics of detectors share."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rrm_onnx.calibrate.metrics.base import Agreement
from rrm_onnx.calibrate.metrics.parameters import number, parameter
from rrm_onnx.distance import Array
from rrm_onnx.errors import MetricError

ROUNDING = 1e-2  # how far beyond 0 and 1 scores may lie: int8 networks round


@dataclasses.dataclass(frozen=True)
class Boxes:
    """corners: float64 (n, 4), x1 y1 x2 y2 in any unit; scores: (n,), 0 to 1; classes: int64 (n,)."""

    corners: Array
    scores: Array
    classes: Array

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, which: Array) -> Boxes:
        return Boxes(self.corners[which], self.scores[which], self.classes[which])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detections(Agreement[Boxes]):
    """F1 of the boxes against the original's: 2 x (sum of the matches' IoU) / (number of boxes of both sides).

    Boxes with a score above `threshold` count, after NMS within each class (of two that overlap by `nms` or more the
    one with the lower score goes). A match is a pair of the same class that overlaps by `iou` or more; the best
    pair is taken first, and no box twice. No box on either side is an agreement of 1.
    """

    suppressed: ClassVar[bool] = False  # whether the model does NMS itself
    threshold: float = parameter(0.4, number())
    iou: float = parameter(0.5, number(0, 1, above=0))
    nms: float = parameter(0.45, number(0, 1, above=0))

    @abstractmethod
    def decode(self, arrays: Sequence[Array]) -> Sequence[Boxes]:
        """All candidates, for each row of the batch."""

    def rows(self, arrays: Sequence[Array]) -> Sequence[Boxes]:
        found = [boxes[boxes.scores > self.threshold] for boxes in self.decode(arrays)]
        return found if self.suppressed else [suppress(boxes, self.nms) for boxes in found]

    def compare(self, truth: Boxes, got: Boxes) -> float:
        return f1(truth, got, self.iou)

    def check(self, truth: Sequence[Array]) -> None:
        super().check(truth)
        for boxes in self.decode(self._read(truth)):
            scores = boxes.scores
            if len(scores) and not (scores.min() >= -ROUNDING and scores.max() <= 1 + ROUNDING):
                raise MetricError(
                    f"metric {self.kind}: scores from {scores.min():.3g} to {scores.max():.3g}, not from 0 to 1",
                    hint=self.hint,
                )

    hint: ClassVar[str] = "the outputs are another detector's: name it, or write a function: FILE.py:NAME"


def best(corners: Array, scores: Array) -> Boxes:
    """Boxes of the best class each. corners: (n, 4); scores: (n, classes), at least one class."""
    return Boxes(corners.astype(np.float64), scores.max(axis=1), scores.argmax(axis=1))


def around(centres: Array, sizes: Array) -> Array:
    """Corners (..., 4) of boxes given by centre and size, (..., 2) each."""
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)


def overlap(a: Array, b: Array) -> Array:
    """Intersection over union of each of n boxes with each of m: (n, 4), (m, 4) -> (n, m).

    A box and its equal have 1 also where they are empty. Boxes turned inside out are empty.
    """
    left, right = a[:, None], b[None]
    with np.errstate(all="ignore"):  # what a broken answer holds is no match
        shared = _area(np.maximum(left[..., :2], right[..., :2]), np.minimum(left[..., 2:], right[..., 2:]))
        union = _area(a[:, :2], a[:, 2:])[:, None] + _area(b[:, :2], b[:, 2:])[None] - shared
        share = np.nan_to_num(shared / union, nan=0, posinf=0, neginf=0)
    return np.where((left == right).all(axis=-1), 1.0, share)


def _area(low: Array, high: Array) -> Array:
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def suppress(boxes: Boxes, limit: float) -> Boxes:
    """Greedy non-maximum suppression within each class; best score first."""
    left = np.argsort(-boxes.scores, kind="stable")
    kept = []
    while len(left):
        first, rest = left[0], left[1:]
        kept.append(first)
        near = overlap(boxes.corners[first : first + 1], boxes.corners[rest])[0] >= limit
        left = rest[~(near & (boxes.classes[rest] == boxes.classes[first]))]
    return boxes[np.array(kept, np.int64)]


def f1(truth: Boxes, got: Boxes, least: float) -> float:
    """See `Detections`. `least`: the smallest overlap of a match."""
    if not len(truth) or not len(got):
        return float(len(truth) == len(got))
    share = overlap(truth.corners, got.corners) * (truth.classes[:, None] == got.classes[None])
    rows, columns = np.nonzero(share >= least)
    free = np.ones(len(truth), bool), np.ones(len(got), bool)
    total = 0.0
    for k in np.argsort(-share[rows, columns], kind="stable"):
        i, j = rows[k], columns[k]
        if free[0][i] and free[1][j]:
            free[0][i] = free[1][j] = False
            total += share[i, j]
    return float(2 * total / (len(truth) + len(got)))
