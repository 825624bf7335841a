"""Resize (and Upsample, its name up to opset 9): nearest and linear over H and W.

Output size = floor(input * scale), or as given. An output site reads the input at the place that
coordinate_transformation_mode says; its changed sites are those that read a changed one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import (
    Facts,
    OpRule,
    Refused,
    attribute,
    channels_of,
    check_batches,
    constant,
    has_input,
    map_input,
    out_fact,
    parameter,
    resized,
    single,
)
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.ops.reference_math import Taps
from rrm_onnx.ops.trials import Shapes, evaluate, size_giver, trials
from rrm_onnx.types import Attribute, EdgeFact, Match

TRANSFORMS = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
CLOSE = 1e-6  # what comes this close to half-way is half-way: 1 / (2 / 7) in floats is a little less than 3.5
OTHERS = ("half_pixel_symmetric", "tf_half_pixel_for_nn")  # the same as one of these for whole factors, or sizes
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def spatial(node: gs.Node, values: list[float], what: str) -> tuple[float, float]:
    """The entries for H and W of scales or sizes given for all axes, or for those of attribute `axes` (opset 18)."""
    axes = [int(a) % 4 for a in attribute(node, "axes", range(4))]
    if len(axes) != len(values):
        raise Refused("shape", f"{len(values)} {what} for {len(axes)} axes")
    by_axis = dict(zip(axes, values, strict=True))
    if what == "scales" and any(by_axis.get(a, 1.0) != 1.0 for a in (0, 1)):
        raise Refused("axis", "batch or channels are scaled, only H and W are supported")
    if not {2, 3} <= by_axis.keys():
        raise Refused("axis", f"axes {axes}, both H and W are needed")
    return by_axis[2], by_axis[3]


def modes(node: gs.Node, opset: int) -> dict[str, Attribute]:
    """mode, coordinate_transformation_mode and nearest_mode; before opset 11 all of it is asymmetric with floor."""
    mode = str(attribute(node, "mode", "nearest"))
    if mode not in ("nearest", "linear"):
        raise Refused("mode", f"mode {mode}, only nearest and linear are supported")
    if node.op == "Upsample" or opset < 11:
        return {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    transform = str(attribute(node, "coordinate_transformation_mode", "half_pixel"))
    rounding = str(attribute(node, "nearest_mode", "round_prefer_floor"))
    if transform not in (*TRANSFORMS, *OTHERS):
        raise Refused("mode", f"coordinate_transformation_mode {transform}")
    if rounding not in ROUNDINGS:
        raise Refused("mode", f"nearest_mode {rounding}")
    if int(attribute(node, "antialias", 0)):
        raise Refused("mode", "antialias")
    if str(attribute(node, "keep_aspect_ratio_policy", "stretch")) != "stretch":
        raise Refused("mode", "keep_aspect_ratio_policy other than stretch")
    return {"mode": mode, "coordinate_transformation_mode": transform, "nearest_mode": rounding}


def as_usual(attributes: dict[str, Attribute], factors: Sequence[float | None], by_sizes: bool) -> dict[str, Attribute]:
    """The attributes with coordinate_transformation_mode among TRANSFORMS; refused where it is none of these.

    factors: of height and width, where they are known. half_pixel_symmetric is half_pixel where input times factor is
    whole; tf_half_pixel_for_nn reads (x + 1/2) / factor, whose floor is that of x / factor for a whole factor.
    """
    transform = attributes["coordinate_transformation_mode"]
    whole = all(f is not None and f >= 1 and f % 1 == 0 for f in factors)
    if transform == "half_pixel_symmetric" and (whole or by_sizes):
        return {**attributes, "coordinate_transformation_mode": "half_pixel"}
    floors = attributes["mode"] == "nearest" and attributes["nearest_mode"] == "floor"
    if transform == "tf_half_pixel_for_nn" and whole and floors:
        return {**attributes, "coordinate_transformation_mode": "asymmetric"}
    if transform in OTHERS:
        raise Refused("mode", f"coordinate_transformation_mode {transform} by a factor that is not whole")
    return attributes


def wanted(node: gs.Node, shapes: Shapes, x: tuple[int, ...]) -> tuple[float, float] | None:
    """Height and width that computed sizes come to, for maps of those shapes; x: the shape of the one resized."""
    values = evaluate(node.inputs[3], shapes)
    if values is None:
        return None
    size = spatial(node, [float(v) for v in values.ravel()], "sizes")
    whole = "axes" in node.attrs or tuple(values[:2]) == x[:2]
    return size if whole else None


def times(node: gs.Node, name: str, x: EdgeFact) -> int | None:
    """The whole number that computed sizes are times those of the map itself."""
    found = {wanted(node, {name: shape}, shape) or (0, 0): shape[2:] for (shape,) in trials(x)}
    factors = {a / b for size, own in found.items() for a, b in zip(size, own, strict=True)}
    factor = factors.pop() if len(factors) == 1 else 0
    return int(factor) if factor >= 1 and factor % 1 == 0 else None


def is_size_of(node: gs.Node, name: str, x: EdgeFact, like: str, fact: EdgeFact) -> bool:
    """Whether computed sizes are height and width of the map `like`."""
    return all(wanted(node, {name: a, like: b}, a) == b[2:] for a, b in trials(x, fact))


class ResizeRule(OpRule):
    """Resize, Upsample -> rrm.Resize; rrm.ResizeLike where the sizes are computed from the shape of another map.

    Limits: height and width only; nearest or linear; scales or sizes that are constant, or sizes that are those of a
    map, or a multiple of the input's; half_pixel, pytorch_half_pixel, asymmetric or align_corners, for whole factors
    also half_pixel_symmetric and tf_half_pixel_for_nn; no antialias, and the aspect ratio is not kept.
    """

    makes = ("Resize", "ResizeLike")
    op_types = ("Resize", "Upsample")

    def becomes(self, op_type: str) -> tuple[str, ...]:
        return self.makes if op_type == "Resize" else ("Resize",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        attributes = modes(node, facts.opset)
        old = node.op == "Upsample" or facts.opset < 11
        scales = parameter(node, "scales", 1 if old else 2)
        if not old and has_input(node, 3) and constant(node, 3) is None:
            return self._computed(node, name, x, attributes, facts)
        sizes = None if old or not has_input(node, 3) else self._sizes(node)
        if sizes is not None:
            height, width = (int(v) for v in sizes)
            known = ((height, x.height), (width, x.width))
            attributes = as_usual(attributes, [size / own if own else None for size, own in known], True)
            attributes |= {"scales": (), "sizes": (height, width)}
            return single(node, "Resize", (name,), attributes, out_fact(x, channels_of(x), height, width))
        if old and scales is not None and attributes["mode"] == "nearest" and any(s < 1 and 1 / s % 1 for s in scales):
            raise Refused("mode", "downsampling by a broken ratio, which opset 10 leaves to the runtime's rounding")
        if scales is None or not scales.size:
            raise Refused("parameter-not-constant", "neither scales nor sizes are given")
        sy, sx = spatial(node, [float(v) for v in scales.ravel()], "scales")
        attributes = as_usual(attributes, (sy, sx), False) | {"scales": (sy, sx), "sizes": ()}
        out = resized(x, channels_of(x), lambda h: math.floor(h * sy), lambda w: math.floor(w * sx))
        return single(node, "Resize", (name,), attributes, out)

    @staticmethod
    def _computed(node: gs.Node, name: str, x: EdgeFact, attributes: dict[str, Attribute], facts: Facts) -> Match:
        """Sizes that follow from shapes."""
        sizes = node.inputs[3]
        factor = times(node, name, x)
        if factor is not None:
            attributes = as_usual(attributes, (factor, factor), True)
            attributes |= {"scales": (float(factor), float(factor)), "sizes": ()}
            out = resized(x, channels_of(x), lambda h: h * factor, lambda w: w * factor)
            return single(node, "Resize", (name,), attributes, out)
        found = size_giver(sizes, name, facts.edges, lambda like, fact: is_size_of(node, name, x, like, fact))
        if found is None:
            raise Refused("parameter-not-constant", "'sizes' is computed by the graph, and not the size of a map")
        like, fact = found
        check_batches(x, fact)
        out = out_fact(x, channels_of(x), fact.height, fact.width)
        return single(node, "ResizeLike", (name, like), as_usual(attributes, (None, None), True), out)

    @staticmethod
    def _sizes(node: gs.Node) -> tuple[float, float] | None:
        values = parameter(node, "sizes", 3)
        return None if values is None or not values.size else spatial(node, [float(v) for v in values.ravel()], "sizes")


# --- NumPy definition ----------------------------------------------------------------------------------------------


HALF = np.float32(0.5)


class ResizeLike(SiteOp):
    """ONNX's Resize of height and width, `nearest` or `linear`, to the size of the second map.

    Coordinates are computed in float32, as ONNX Runtime does: which site is nearest depends on it.
    """

    takes: ClassVar[tuple[str, ...]] = ("ticket", "ticket")
    tickets: ClassVar[int] = 2
    mode: str
    coordinate_transformation_mode: str
    nearest_mode: str

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        return shapes[1][0], shapes[1][1]

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        if index == 1:  # of the second map only its size counts
            return Taps(np.full((size, 1), -1) for size in out)
        return Taps(self._weighted_taps(axis, shape[axis], out[axis])[0] for axis in (0, 1))

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        size = self.output_shape([m.shape for m in maps])
        out = maps[0].astype(np.float64)
        for axis in (0, 1):
            at, weights = self._weighted_taps(axis, maps[0].shape[axis], size[axis])
            along = np.expand_dims(weights, (1 - axis, 2))
            out = np.sum([np.take(out, at[:, k], axis) * along[..., k] for k in range(at.shape[1])], axis=0)
        return out.astype(np.float32)

    def _weighted_taps(self, axis: int, size: int, out: int) -> tuple[Any, Any]:
        """Input indices and weights of each output index along an axis: one tap for nearest, two for linear."""
        x = self._coordinates(axis, size, out)
        if self.mode == "nearest":
            return np.clip(self._nearest(x), 0, size - 1)[:, None], np.ones((out, 1))
        x = np.clip(x, np.float32(0), np.float32(size - 1))
        low = np.floor(x).astype(np.int64)
        high = np.minimum(low + 1, size - 1)
        part = (x - low.astype(np.float32)).astype(np.float64)
        return np.stack([low, high], 1), np.stack([1 - part, part], 1)

    def _scale(self, axis: int, size: int, out: int) -> Any:
        return np.float32(out) / np.float32(size)

    def _coordinates(self, axis: int, size: int, out: int) -> Any:
        scale = self._scale(axis, size, out)
        x = np.arange(out, dtype=np.float32)
        match self.coordinate_transformation_mode:
            case "half_pixel":
                return (x + HALF) / scale - HALF
            case "pytorch_half_pixel":
                return (x + HALF) / scale - HALF if out > 1 else np.zeros_like(x)
            case "asymmetric":
                return x / scale
            case "align_corners":
                return x * np.float32(size - 1) / np.float32(out - 1) if out > 1 else np.zeros_like(x)
        raise ValueError(f"unknown coordinate_transformation_mode {self.coordinate_transformation_mode!r}")

    def _nearest(self, x: Any) -> Any:
        x = x.astype(np.float64)  # so that adding a half, and what still counts as half-way, is exact
        match self.nearest_mode:
            case "round_prefer_floor":
                return np.ceil(x - (0.5 + CLOSE)).astype(np.int64)
            case "round_prefer_ceil":
                return np.floor(x + (0.5 + CLOSE)).astype(np.int64)
            case "floor":
                return np.floor(x).astype(np.int64)
            case "ceil":
                return np.ceil(x).astype(np.int64)
        raise ValueError(f"unknown nearest_mode {self.nearest_mode!r}")


class Resize(ResizeLike):
    """ONNX's Resize of height and width, `nearest` or `linear`, by `scales` or by `sizes`.

    Coordinates are computed in float32, as ONNX Runtime does: which site is nearest depends on it.
    """

    takes: ClassVar[tuple[str, ...]] = ("ticket",)
    tickets: ClassVar[int] = 1
    scales: Sequence[float] = ()
    sizes: Sequence[int] = ()

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        if len(self.sizes):
            return int(self.sizes[0]), int(self.sizes[1])
        return tuple(int(np.float32(s) * np.float32(n)) for s, n in zip(self.scales, shapes[0][:2], strict=True))  # type: ignore[return-value]

    def _scale(self, axis: int, size: int, out: int) -> Any:
        return np.float32(self.scales[axis]) if len(self.scales) else super()._scale(axis, size, out)
