"""Pad over H and W with a constant, by reflection, with the edge values, or with those of the other edge."""

from __future__ import annotations

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
from rrm_onnx.ops.reference_math import Taps, pad_once, tap
from rrm_onnx.ops.trials import evaluate, size_giver, trials
from rrm_onnx.types import Attribute, EdgeFact, Match

MODES = ("constant", "reflect", "edge", "wrap")


def padded(x: EdgeFact, top: int, left: int, bottom: int, right: int) -> EdgeFact:
    """The fact of a map with so many sites more on each side, or less; refused where none is left."""
    out = resized(x, channels_of(x), lambda h: h + top + bottom, lambda w: w + left + right)
    if min(size for size in (out.height, out.width, 1) if size is not None) < 1:
        raise Refused("shape", f"an empty map of {out.height} by {out.width} sites")
    return out


def value_of(node: gs.Node) -> float:
    given = parameter(node, "value", 2)
    return 0.0 if given is None else float(np.asarray(given).reshape(()))


def centres(node: gs.Node, name: str, x: EdgeFact, like: str, fact: EdgeFact) -> bool:
    """Whether computed pads (all eight) put the map into the middle of the size of the map `like`."""
    if str(attribute(node, "mode", "constant")) != "constant" or has_input(node, 3):
        return False
    for a, b in trials(x, fact):
        missing = [b[k] - a[k] for k in (2, 3)]
        before = [int(m / 2) for m in missing]  # towards zero, as ONNX divides
        wanted = [0, 0, *before, 0, 0, *(m - k for m, k in zip(missing, before, strict=True))]
        values = evaluate(node.inputs[1], {name: a, like: b})
        if values is None or values.ravel().tolist() != wanted:
            return False
    return True


class PadRule(OpRule):
    """Pad -> rrm.Pad with pads (top, left, bottom, right); rrm.PadLike where the pads are computed so that the map has
    the size of another, in whose middle it lies.

    Limits: height and width only; pads that are constant (negative ones in the modes constant and edge), or, with a
    constant around, computed from the shapes of the map and of another.
    """

    makes = ("Pad", "PadLike")
    op_types = ("Pad",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        if has_input(node, 1) and constant(node, 1) is None:
            return self._computed(node, name, x, facts)
        top, left, bottom, right = self._spatial(node)
        mode = str(attribute(node, "mode", "constant"))
        if mode not in MODES:
            raise Refused("mode", f"mode {mode}, only {', '.join(MODES)} are supported")
        if min(top, left, bottom, right) < 0 and mode not in ("constant", "edge"):
            raise Refused("pads", f"negative pads {[top, left, bottom, right]} in mode {mode}")
        value = value_of(node)
        attributes: dict[str, Attribute] = {"pads": (top, left, bottom, right), "mode": mode, "value": value}
        return single(node, "Pad", (name,), attributes, padded(x, top, left, bottom, right))

    @staticmethod
    def _computed(node: gs.Node, name: str, x: EdgeFact, facts: Facts) -> Match:
        """Pads that follow from shapes."""
        found = size_giver(node.inputs[1], name, facts.edges, lambda like, fact: centres(node, name, x, like, fact))
        if found is None:
            raise Refused("parameter-not-constant", "'pads' is computed by the graph, and not from the size of a map")
        like, fact = found
        check_batches(x, fact)
        out = out_fact(x, channels_of(x), fact.height, fact.width)
        return single(node, "PadLike", (name, like), {"value": value_of(node)}, out)

    @staticmethod
    def _spatial(node: gs.Node) -> tuple[int, int, int, int]:
        pads = parameter(node, "pads", 1)
        if pads is None:
            raise Refused("parameter-not-constant", "pads are absent")
        axes = parameter(node, "axes", 3)
        order = [0, 1, 2, 3] if axes is None else [int(a) % 4 for a in axes.ravel()]
        values = [int(v) for v in pads.ravel()]
        begin = dict(zip(order, values[: len(order)], strict=True))
        end = dict(zip(order, values[len(order) :], strict=True))
        if any(begin.get(a, 0) or end.get(a, 0) for a in (0, 1)):
            raise Refused("axis", "batch or channels are padded, only H and W are supported")
        return begin.get(2, 0), begin.get(3, 0), end.get(2, 0), end.get(3, 0)


# --- NumPy definition ----------------------------------------------------------------------------------------------


class PadLike(SiteOp):
    """A map in the middle of the size of a second one, `value` around it; what is larger than that is cut off.

    Before it stand half of the missing sites, rounded towards zero.
    """

    takes: ClassVar[tuple[str, ...]] = ("ticket", "ticket")
    tickets: ClassVar[int] = 2
    value: float = 0.0

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        return shapes[1][0], shapes[1][1]

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        if index == 1:  # of the second map only its size counts
            return Taps(np.full((size, 1), -1) for size in out)
        places = (np.arange(out[k]) - int((out[k] - shape[k]) / 2) for k in (0, 1))
        return Taps(np.where((at >= 0) & (at < shape[k]), at, -1)[:, None] for k, at in enumerate(places))

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        taps = self.taps(0, maps[0].shape, self.output_shape([m.shape for m in maps]))
        return tap(pad_once(maps[0], self.value), taps, 0, 0)


class Pad(SiteOp):
    """ONNX's Pad of height and width: constant, reflect (without the border site), edge or wrap; negative pads crop."""

    pads: list[int]
    mode: str
    value: float = 0.0

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        return shapes[0][0] + self.pads[0] + self.pads[2], shapes[0][1] + self.pads[1] + self.pads[3]

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        return Taps(self._axis(axis, shape[axis], out[axis]) for axis in (0, 1))

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        taps = self.taps(0, maps[0].shape, self.output_shape([maps[0].shape]))
        return tap(pad_once(maps[0], self.value), taps, 0, 0)

    def _axis(self, axis: int, size: int, out: int) -> Any:
        at = np.arange(out)[:, None] - self.pads[axis]
        match self.mode:
            case "constant":
                return np.where((at >= 0) & (at < size), at, -1)
            case "edge":
                return np.clip(at, 0, size - 1)
            case "wrap":
                return at % size
            case "reflect":
                period = max(2 * (size - 1), 1)
                at = np.abs(at) % period
                return np.minimum(at, period - at) if size > 1 else np.zeros_like(at)
        raise ValueError(f"unknown mode {self.mode!r}")
