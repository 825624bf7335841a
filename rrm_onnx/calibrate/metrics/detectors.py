"""Built-in detectors: how raw outputs become boxes with scores and classes.

Only what matters for an agreement is decoded: where all boxes shift or stretch alike (the offset of a cell's centre, a
unit), overlaps stay the same.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rrm_onnx.calibrate.metrics.base import require, unfit
from rrm_onnx.calibrate.metrics.boxes import Boxes, Detections, around, best
from rrm_onnx.calibrate.metrics.parameters import one_of, parameter, pixels, whole, whole_or_none
from rrm_onnx.distance import Array
from rrm_onnx.errors import MetricError

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (8, 16))
"""Pixels between two cells of each level of a detector without anchors; the first that fits is taken."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneOutput(Detections):
    """output: the one that is read. classes: how many columns of scores count, where masks or key points follow them;
    by default all."""

    output: int = parameter(0, whole())
    classes: int | None = parameter(None, whole_or_none)
    hint: ClassVar[str] = "where key points or masks follow the classes, say how many classes there are: classes=80"

    def indices(self, outputs: Sequence[Array]) -> Sequence[int]:
        require(outputs, (self.output,), self.kind)
        return (self.output,)

    def columns(self, x: Array, before: int) -> Array:
        """x (batch, n, columns) without what follows the scores; MetricError where there is no class."""
        width = x.shape[2] if self.classes is None else before + self.classes
        if not before < width <= x.shape[2]:
            raise unfit(self.kind, x, f"list of {before} numbers and the scores of {self.classes or 'some'} classes")
        return x[..., :width]


@dataclasses.dataclass(frozen=True, kw_only=True)
class YoloV5(OneOutput):
    """YOLOv5 to v7 with the boxes decoded inside: output [batch, n, 5 + classes], rows of cx, cy, w, h (pixels),
    objectness, class scores. The score of a box is objectness x best class. So are YOLOX exports that decode inside."""

    kind: ClassVar[str] = "yolov5"

    def decode(self, arrays: Sequence[Array]) -> Sequence[Boxes]:
        (x,) = arrays
        if x.ndim != 3:
            raise unfit(self.kind, x, "output of this detector: [batch, boxes, 5 + classes]")
        return [best(self.corners(a), a[:, 4:5] * a[:, 5:]) for a in self.columns(x, 5)]

    def corners(self, a: Array) -> Array:
        """Corners of boxes in rows (n, 5 + classes)."""
        return around(a[:, :2], a[:, 2:4])


@dataclasses.dataclass(frozen=True, kw_only=True)
class YoloX(YoloV5):
    """YOLOX (Ge et al. 2021, arXiv 2107.08430): output [batch, n, 5 + classes], one row a cell of strides 8, 16, 32
    (and 64), level by level, x fastest. Centre = (cell + (x, y)) x stride, size = exp(w, h) x stride.

    size: (width, height) of the network's picture, `size=416x416`.
    """

    kind: ClassVar[str] = "yolox"
    size: tuple[int, int] | None = parameter(None, pixels)

    def corners(self, a: Array) -> Array:
        grid = cells(len(a), self.size, self.kind)
        with np.errstate(over="ignore"):
            return around((a[:, :2] + grid[:, :2]) * grid[:, 2:], np.exp(a[:, 2:4]) * grid[:, 2:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class YoloV8(OneOutput):
    """YOLOv8 and v11: output [batch, 4 + classes, n], columns of cx, cy, w, h (pixels) and class scores."""

    kind: ClassVar[str] = "yolov8"

    def decode(self, arrays: Sequence[Array]) -> Sequence[Boxes]:
        (x,) = arrays
        if x.ndim != 3:
            raise unfit(self.kind, x, "output of this detector: [batch, 4 + classes, boxes]")
        rows = self.columns(x.transpose(0, 2, 1), 4)
        return [best(around(a[:, :2], a[:, 2:4]), a[:, 4:]) for a in rows]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FastestDet(OneOutput):
    """FastestDet: output [batch, 5 + classes, rows, columns], one box a cell: objectness, x, y, w, h, class scores.

    Score = objectness^0.6 x best class^0.4; centre = cell + tanh(x, y) in cells; size = sigmoid(w, h) of the picture
    (as in the detector's own post-processing, github.com/dog-qiuqiu/FastestDet).
    """

    kind: ClassVar[str] = "fastestdet"

    def decode(self, arrays: Sequence[Array]) -> Sequence[Boxes]:
        (x,) = arrays
        if x.ndim != 4:
            raise unfit(self.kind, x, "output of this detector: [batch, 5 + classes, rows, columns]")
        height, width = x.shape[2:]
        grid = lattice(width, height)
        rows = x.reshape(*x.shape[:2], -1).transpose(0, 2, 1).astype(np.float64)
        return [self._boxes(a, grid, np.array([width, height])) for a in self.columns(rows, 5)]

    @staticmethod
    def _boxes(a: Array, grid: Array, size: Array) -> Boxes:
        with np.errstate(over="ignore"):  # exp of a large number is infinity, the sigmoid 0
            sides = 1 / (1 + np.exp(-a[:, 3:5]))
        scores = _power(a[:, :1], 0.6) * _power(a[:, 5:], 0.4)
        return best(around((grid + np.tanh(a[:, 1:3])) / size, sides), scores)


def _power(x: Array, exponent: float) -> Array:
    """x^exponent of either sign, so that scores that are no probabilities still show."""
    return np.sign(x) * np.abs(x) ** exponent


@dataclasses.dataclass(frozen=True, kw_only=True)
class NanoDet(Detections):
    """NanoDet and NanoDet-Plus: class scores (0 to 1) and, for each side of a box, a distribution over its distance
    from the cell's centre in strides: softmax over 0, 1, ..., `bins` - 1, and its mean (Generalized Focal Loss, Li et
    al. 2020, arXiv 2006.04388). Sides: left, top, right, bottom.

    Outputs: for each stride one [(batch,) cells, classes] and one [(batch,) cells, 4 x bins], in any order; or a single
    one, [batch, all cells, classes + 4 x bins]. Strides 8, 16, 32 (and 64).

    size: (width, height) of the network's picture, `size=320x320`. bins: 8 by default.
    """

    kind: ClassVar[str] = "nanodet"
    size: tuple[int, int] | None = parameter(None, pixels)
    bins: int = parameter(8, whole(2))

    def indices(self, outputs: Sequence[Array]) -> Sequence[int]:
        return range(len(outputs))

    def decode(self, arrays: Sequence[Array]) -> Sequence[Boxes]:
        scores, sides = self._single(arrays[0]) if len(arrays) == 1 else self._levels(arrays)
        if scores.shape[2] == 0 or scores.shape[:2] != sides.shape[:2]:
            raise unfit(self.kind, scores, f"list of class scores beside distances of shape {list(sides.shape)}")
        grid = cells(scores.shape[1], self.size, self.kind)
        stride = grid[:, 2:].astype(np.float64)
        centres = (grid[:, :2] + 0.5) * stride
        parts = sides.reshape(*sides.shape[:2], 4, self.bins).astype(np.float64)
        powers = np.exp(parts - parts.max(axis=-1, keepdims=True))
        away = (powers / powers.sum(axis=-1, keepdims=True)) @ np.arange(self.bins) * stride
        corners = np.concatenate([centres - away[..., :2], centres + away[..., 2:]], axis=-1)
        return [best(c, s) for c, s in zip(corners, scores, strict=True)]

    def _single(self, x: Array) -> tuple[Array, Array]:
        if x.ndim != 3 or x.shape[2] <= 4 * self.bins:
            raise unfit(self.kind, x, f"output of this detector: [batch, cells, classes + {4 * self.bins}]")
        return x[..., : -4 * self.bins], x[..., -4 * self.bins :]

    def _levels(self, arrays: Sequence[Array]) -> tuple[Array, Array]:
        """Scores and distances of all levels, the finest (most cells) first."""
        if odd := [a for a in arrays if a.ndim not in (2, 3)]:
            raise unfit(self.kind, odd[0], "output of this detector: [cells, classes]")
        levels = sorted((a[None] if a.ndim == 2 else a for a in arrays), key=lambda a: -a.shape[1])
        sides = [a for a in levels if a.shape[2] == 4 * self.bins]
        scores = [a for a in levels if a.shape[2] != 4 * self.bins]
        if [a.shape[:2] for a in sides] != [a.shape[:2] for a in scores] or len({a.shape[2] for a in scores}) != 1:
            shapes = ", ".join(str(list(a.shape)) for a in arrays)
            hint = f"for each stride one [cells, classes] and one [cells, {4 * self.bins}] are expected: set bins=N"
            raise MetricError(f"metric nanodet: outputs of shapes {shapes} are not this detector's", hint)
        return np.concatenate(scores, axis=1), np.concatenate(sides, axis=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ssd(Detections):
    """Boxes and scores, decoded, without NMS (as SSD, Liu et al. 2016, arXiv 1512.02325, ends): two outputs,
    [(batch,) n, 4] and [(batch,) n, classes] or [(batch,) n]. The unit of the boxes does not matter.

    boxes, scores: which outputs these are, where shapes do not tell. form: `corners` (x1, y1, x2, y2; y first is the
    same) or `centre` (cx, cy, w, h). background: the class that is no object where there are several, or `none`.
    """

    kind: ClassVar[str] = "ssd"
    boxes: int | None = parameter(None, whole_or_none)
    scores: int | None = parameter(None, whole_or_none)
    form: str = parameter("corners", one_of("corners", "centre"))
    background: int | None = parameter(0, whole_or_none)

    def indices(self, outputs: Sequence[Array]) -> Sequence[int]:
        require(outputs, [i for i in (self.boxes, self.scores) if i is not None], self.kind)
        boxes = find_boxes(outputs, self.boxes, self.kind)
        lead = outputs[boxes].shape[:-1]
        fits = [i for i, o in enumerate(outputs) if i != boxes and o.shape[: len(lead)] == lead]
        return boxes, only(fits, self.scores, "scores", outputs, self.kind)

    def decode(self, arrays: Sequence[Array]) -> Sequence[Boxes]:
        boxes, scores = (a if arrays[0].ndim == 3 else a[None] for a in arrays)
        scores = scores[..., None] if scores.ndim == 2 else scores
        if boxes.ndim != 3 or scores.ndim != 3 or boxes.shape[:2] != scores.shape[:2]:
            raise unfit(self.kind, scores, f"list of scores beside boxes of shape {list(boxes.shape)}")
        if scores.shape[2] > 1 and self.background is not None:
            if self.background >= scores.shape[2]:
                raise MetricError(f"metric ssd: background={self.background}, there are {scores.shape[2]} classes")
            scores = np.delete(scores, self.background, axis=2)
        corners = boxes if self.form == "corners" else around(boxes[..., :2], boxes[..., 2:])
        return [best(c, s) for c, s in zip(corners, scores, strict=True)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinalBoxes(Detections):
    """What a model with NMS inside gives: boxes [(batch,) n, 4] as corners, scores [(batch,) n] and, where there are
    any, labels [(batch,) n]; or one output of [(batch,) n, 6]: x1, y1, x2, y2, score, label. n may change by frame.

    boxes, scores, labels: which outputs these are, where shapes and types do not tell.
    """

    kind: ClassVar[str] = "boxes"
    suppressed: ClassVar[bool] = True
    boxes: int | None = parameter(None, whole_or_none)
    scores: int | None = parameter(None, whole_or_none)
    labels: int | None = parameter(None, whole_or_none)

    def indices(self, outputs: Sequence[Array]) -> Sequence[int]:
        named = [i for i in (self.boxes, self.scores, self.labels) if i is not None]
        require(outputs, named, self.kind)
        if not named and len(outputs) == 1 and outputs[0].ndim in (2, 3) and outputs[0].shape[-1] == 6:
            return (0,)
        boxes = find_boxes(outputs, self.boxes, self.kind)
        rest = [i for i, o in enumerate(outputs) if i != boxes and o.shape == outputs[boxes].shape[:-1]]
        labels = [i for i in rest if outputs[i].dtype.kind in "iu"] if self.labels is None else [self.labels]
        floats = [i for i in rest if outputs[i].dtype.kind == "f" and i not in labels]
        scores = only(floats, self.scores, "scores", outputs, self.kind)
        return (boxes, scores, only(labels, None, "labels", outputs, self.kind)) if labels else (boxes, scores)

    def decode(self, arrays: Sequence[Array]) -> Sequence[Boxes]:
        corners, *rest = arrays
        if not rest:
            corners, rest = corners[..., :4], [corners[..., 4], corners[..., 5]]
        lead = corners.shape[:-1]
        if any(a.shape != lead for a in rest) or len(lead) not in (1, 2):
            raise unfit(self.kind, rest[0], f"list of scores or labels beside boxes of shape {list(corners.shape)}")
        batch = (-1, lead[-1]) if lead[-1] else (lead[0] if len(lead) == 2 else 1, 0)
        scores = rest[0].reshape(batch)
        labels = (rest[1] if len(rest) > 1 else np.zeros(lead)).reshape(batch).astype(np.int64)
        rows = zip(corners.reshape(*scores.shape, 4).astype(np.float64), scores, labels, strict=True)
        return [Boxes(*row) for row in rows]


def find_boxes(outputs: Sequence[Array], named: int | None, kind: str) -> int:
    """Which output holds boxes."""
    fits = [i for i, o in enumerate(outputs) if o.ndim in (2, 3) and o.shape[-1] == 4 and o.dtype.kind in "fiu"]
    if named is None:  # scores of four boxes, [batch, 4], are no boxes
        fits = [i for i in fits if outputs[i].ndim == max(outputs[k].ndim for k in fits)]
    if named is not None and named not in fits:
        raise unfit(kind, outputs[named], "list of boxes: [n, 4] or [batch, n, 4]")
    return only(fits, named, "boxes", outputs, kind)


def only(fits: Sequence[int], named: int | None, what: str, outputs: Sequence[Array], kind: str) -> int:
    """The output that the user named, else the only one that fits."""
    if named is not None:
        return named
    if len(fits) == 1:
        return fits[0]
    shapes = ", ".join(f"{i}: {o.dtype} {list(o.shape)}" for i, o in enumerate(outputs))
    count = "several outputs" if fits else "no output"
    example = fits[0] if fits else 0
    raise MetricError(f"metric {kind}: {count} could be the {what} ({shapes})", f"name it: {kind}:{what}={example}")


def cells(count: int, size: tuple[int, int] | None, kind: str) -> Array:
    """The cells of a detector's levels, int64 (count, 3): column, row, stride; x fastest, the finest level first."""
    if size is None:
        raise MetricError(f"metric {kind} needs the size of the picture", f"say {kind}:size=WIDTHxHEIGHT")
    for strides, up in itertools.product(STRIDES, (False, True)):
        sides = [[(n + (s - 1) * up) // s for n in size] for s in strides]
        if sum(w * h for w, h in sides) == count:
            grids = [lattice(w, h) for w, h in sides]
            levels = [np.full((len(g), 1), s) for g, s in zip(grids, strides, strict=True)]
            return np.concatenate([np.concatenate(grids), np.concatenate(levels)], axis=1)
    width, height = size
    hint = f"give the network's own size with {kind}:size=WIDTHxHEIGHT, or write a function: FILE.py:NAME"
    raise MetricError(f"metric {kind}: {count} cells are not those of a picture of {width}x{height}", hint)


def lattice(width: int, height: int) -> Array:
    """(column, row) of each cell, x fastest: int64 (width x height, 2)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x.ravel(), y.ravel()], axis=1)
