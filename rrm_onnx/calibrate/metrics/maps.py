"""Metrics of places: key points, peaks, landmarks, masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rrm_onnx.calibrate.metrics.base import Agreement, Reading, require, unfit
from rrm_onnx.calibrate.metrics.parameters import number, one_of, outputs, parameter, pixels, whole, whole_or_none
from rrm_onnx.distance import Array
from rrm_onnx.errors import MetricError

MOST_CLASSES = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maps(Agreement[Reading]):
    """layout: `nchw`, `nhwc`, or `auto`: which of the two gives maps of the picture's proportions (where its `size` is
    known), or else square maps, or else fewer channels than rows and columns; `nchw` where nothing tells."""

    layout: str = parameter("auto", one_of("auto", "nchw", "nhwc"))
    size: tuple[int, int] | None = parameter(None, pixels)

    def planar(self, x: Array) -> Array:
        """Rank 4 in the layout [batch, channels, rows, columns]."""
        last = self.layout == "nhwc" or (self.layout == "auto" and channels_last(x.shape, self.size))
        return x.transpose(0, 3, 1, 2) if last else x


def channels_last(shape: Sequence[int], size: tuple[int, int] | None) -> bool:
    """Whether a map of rank 4 looks like NHWC; see `Maps`."""
    _, a, b, c = shape
    if size:
        width, height = size
        # Rounding a side to whole cells moves the product by less than a cell's share.
        planar, last = (abs(h * width - w * height) <= max(size) for h, w in ((b, c), (a, b)))
        if planar != last:
            return last
    if (a == b) != (b == c):
        return a == b
    return c < a


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeatMaps(Maps[Reading]):
    """output: which one holds the heat maps, [batch, channels, rows, columns] or channels last; without a batch too."""

    output: int = parameter(0, whole())
    threshold: float = parameter(0.3, number())
    distance: float = parameter(1.5, number(0))

    def indices(self, outputs: Sequence[Array]) -> Sequence[int]:
        require(outputs, (self.output,), self.kind)
        return (self.output,)

    def heat(self, x: Array) -> Array:
        whole_batch = x[None] if x.ndim == 3 else x
        if whole_batch.ndim != 4 or whole_batch.size == 0:
            raise unfit(self.kind, x, "heat map of rank 4")
        return self.planar(whole_batch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyPoints(HeatMaps[tuple[Array, Array]]):
    """One heat map a key point: of the points that the original sees (its highest value is above `threshold`), the
    share whose highest place lies within `distance` cells (1.5) of the original's. 1 where it sees none."""

    kind: ClassVar[str] = "keypoints"

    def rows(self, arrays: Sequence[Array]) -> Sequence[tuple[Array, Array]]:
        heat = self.heat(arrays[0])
        flat = heat.reshape(*heat.shape[:2], -1)
        at = np.stack(np.unravel_index(flat.argmax(axis=2), heat.shape[2:]), axis=-1)
        return list(zip(at, flat.max(axis=2), strict=True))

    def compare(self, truth: tuple[Array, Array], got: tuple[Array, Array]) -> float:
        (want, height), (found, _) = truth, got
        if want.shape != found.shape:
            raise MetricError(f"metric keypoints: {len(want)} key points are compared with {len(found)}")
        seen = height > self.threshold
        near = np.hypot(*(want - found).T) <= self.distance
        return float(near[seen].mean()) if seen.any() else 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peaks(HeatMaps[Array]):
    """Heat maps with any number of peaks each: F1 of the peaks, (a + b) / (peaks of both sides), where a and b are
    those of either side that have one of the other within `distance` cells (1.5) in the same channel.

    A peak is above `threshold` and the highest within `window` x `window` cells (9, odd). 1 where neither side has any.
    """

    kind: ClassVar[str] = "peaks"
    window: int = parameter(9, whole(1))

    def rows(self, arrays: Sequence[Array]) -> Sequence[Array]:
        heat = self.heat(arrays[0])
        return list((heat == highest(heat, self.window // 2)) & (heat > self.threshold))

    def compare(self, truth: Array, got: Array) -> float:
        if truth.shape != got.shape:
            raise MetricError(f"metric peaks: maps of shape {list(truth.shape)} are compared with {list(got.shape)}")
        count = int(truth.sum()) + int(got.sum())
        hits = near(truth, got, self.distance) + near(got, truth, self.distance)
        return hits / count if count else 1.0


def highest(maps: Array, reach: int) -> Array:
    """The largest value within `reach` cells in both directions, up to the edges. maps: [..., rows, columns]."""
    for axis in (maps.ndim - 2, maps.ndim - 1):
        line = np.moveaxis(maps, axis, -1)
        found = line.copy()
        for step in range(1, min(reach, line.shape[-1] - 1) + 1):
            found[..., step:] = np.maximum(found[..., step:], line[..., :-step])
            found[..., :-step] = np.maximum(found[..., :-step], line[..., step:])
        maps = np.moveaxis(found, -1, axis)
    return maps


def near(points: Array, others: Array, distance: float) -> int:
    """How many of `points` have one of `others` within `distance`. Both bool [channels, rows, columns]."""
    channel, y, x = np.nonzero(points)
    reach = min(int(distance), max(points.shape[1:]))
    padded = np.pad(others, ((0, 0), (reach, reach), (reach, reach)))
    found = np.zeros(len(y), bool)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if np.hypot(dy, dx) <= distance:
                found |= padded[channel, y + dy + reach, x + dx + reach]
    return int(found.sum())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landmarks(Agreement[Array]):
    """Rows of x, y, ...: the share of the points that are off by no more than `distance` (0.01) of the picture's width.

    output: [batch, points, columns], or [batch, points x columns] with `columns` numbers a point (3 by default).
    size: (width, height) of the picture in the unit of the points, `size=192x192`; `1x1` where they go from 0 to 1.
    """

    kind: ClassVar[str] = "landmarks"
    output: int = parameter(0, whole())
    columns: int | None = parameter(None, whole_or_none)
    distance: float = parameter(0.01, number(0))
    size: tuple[int, int] | None = parameter(None, pixels)

    def indices(self, outputs: Sequence[Array]) -> Sequence[int]:
        require(outputs, (self.output,), self.kind)
        return (self.output,)

    def rows(self, arrays: Sequence[Array]) -> Sequence[Array]:
        (x,) = arrays
        inner = x.shape[-1] if x.ndim > 2 and 2 <= x.shape[-1] <= 8 else 3
        columns = inner if self.columns is None else self.columns
        batch = len(x) if x.ndim > 1 else 1
        if columns < 2 or x.size == 0 or (x.size // batch) % columns:
            raise unfit(self.kind, x, f"list of points of {columns} numbers", "say landmarks:columns=N")
        return list(x.reshape(batch, -1, columns)[..., :2].astype(np.float64))

    def compare(self, truth: Array, got: Array) -> float:
        if self.size is None:
            raise MetricError("metric landmarks needs the size of the picture", "say landmarks:size=WIDTHxHEIGHT")
        if truth.shape != got.shape:
            raise MetricError(f"metric landmarks: {len(truth)} points are compared with {len(got)}")
        return float((np.hypot(*(truth - got).T) <= self.distance * self.size[0]).mean())

    def check(self, truth: Sequence[Array]) -> None:
        self(truth, truth)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask(Maps[list[Array]]):
    """Mean over the classes present on either side of the intersection over union of their pixels.

    output: class scores [batch, classes, rows, columns] or channels last (the class of a pixel is the one with the
    highest); one channel, or none in rank 3: what is above `threshold` (0.5) counts as a class, and what is not as
    none; integers in rank 3 are the classes themselves. Several outputs (`0+1`) count as the mean of theirs.
    """

    kind: ClassVar[str] = "mask"
    output: tuple[int, ...] = parameter((0,), outputs)
    threshold: float = parameter(0.5, number())

    def indices(self, outputs: Sequence[Array]) -> Sequence[int]:
        require(outputs, self.output, self.kind)
        return self.output

    def rows(self, arrays: Sequence[Array]) -> Sequence[list[Array]]:
        return [list(row) for row in zip(*(self.classes(x) for x in arrays), strict=True)]

    def classes(self, x: Array) -> Array:
        """The class of every pixel: int64 [batch, rows, columns], or bool for a mask of one class."""
        if x.ndim == 4 and x.size:
            x = self.planar(x)
            if x.shape[1] > 1:
                return np.asarray(x.argmax(axis=1))
            x = x[:, 0]
        if x.ndim != 3 or x.size == 0:
            raise unfit(self.kind, x, "mask: [batch, classes, rows, columns] or [batch, rows, columns]")
        if x.dtype.kind == "f":
            return x > self.threshold
        if x.dtype != bool and int(x.max()) - int(x.min()) >= MOST_CLASSES:
            raise MetricError(f"metric mask: labels from {x.min()} to {x.max()} are no classes")
        return x if x.dtype == bool else x.astype(np.int64)

    def compare(self, truth: list[Array], got: list[Array]) -> float:
        pairs = list(zip(truth, got, strict=True))
        if odd := next(((a, b) for a, b in pairs if a.shape != b.shape), None):
            shapes = " is compared with ".join(str(list(a.shape)) for a in odd)
            raise MetricError(f"metric {self.kind}: a mask of {shapes}")
        return float(np.mean([class_iou(a, b) for a, b in pairs]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbabilityMap(Mask):
    """One probability a pixel (text detection, matting): intersection over union of what is above `threshold` (0.3)."""

    kind: ClassVar[str] = "probability_map"
    threshold: float = parameter(0.3, number())

    def classes(self, x: Array) -> Array:
        found = super().classes(x)
        if found.dtype != bool:
            raise unfit(self.kind, x, "probability map: it has several channels or integers", "is it a mask?")
        return found


def class_iou(a: Array, b: Array) -> float:
    """Mean IoU of the classes in either of two label maps of one shape; of True alone where they are bool."""
    if a.dtype == bool:
        either = int((a | b).sum())
        return int((a & b).sum()) / either if either else 1.0
    lowest = min(int(a.min()), int(b.min()))
    count = max(int(a.max()), int(b.max())) - lowest + 1
    of_a, of_b, of_both = (np.bincount(x.ravel() - lowest, minlength=count) for x in (a, b, a[a == b]))
    present = of_a + of_b > 0
    return float((of_both[present] / (of_a + of_b - of_both)[present]).mean())
