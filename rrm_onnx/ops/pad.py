"""Pad over H and W with a constant, by reflection, or with the edge values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import Facts, OpRule, Refused, attribute, channels_of, map_input, parameter, resized, single
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.ops.reference_math import Taps, pad_once, tap
from rrm_onnx.types import Attribute, Match


class PadRule(OpRule):
    """Pad -> rrm.Pad with pads (top, left, bottom, right).

    Limits: height and width only; constant, reflect or edge; constant pads that are not negative.
    """

    op_types = ("Pad",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        top, left, bottom, right = self._spatial(node)
        mode = str(attribute(node, "mode", "constant"))
        if mode not in ("constant", "reflect", "edge"):
            raise Refused("mode", f"mode {mode}, only constant, reflect and edge are supported")
        given = parameter(node, "value", 2)
        value = 0.0 if given is None else float(np.asarray(given).reshape(()))
        attributes: dict[str, Attribute] = {"pads": (top, left, bottom, right), "mode": mode, "value": value}
        out = resized(x, channels_of(x), lambda h: h + top + bottom, lambda w: w + left + right)
        return single(node, "Pad", (name,), attributes, out)

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
        if min(values) < 0:
            raise Refused("pads", f"negative pads {values}")
        return begin.get(2, 0), begin.get(3, 0), end.get(2, 0), end.get(3, 0)


# --- NumPy definition ----------------------------------------------------------------------------------------------


class Pad(SiteOp):
    """ONNX's Pad of height and width: constant, reflect (without the border site) or edge; negative pads crop."""

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
            case "reflect":
                period = max(2 * (size - 1), 1)
                at = np.abs(at) % period
                return np.minimum(at, period - at) if size > 1 else np.zeros_like(at)
        raise ValueError(f"unknown mode {self.mode!r}")
