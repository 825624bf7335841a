"""Arithmetic on two maps (Binary), or on a map and a constant (BinaryConst).

Broadcasts that are supported: a 1x1 map over all sites, a 1-channel map over all channels, a constant that is one
value, one value per channel, or a map of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.ops.base import (
    NO_ACTIVATION,
    Facts,
    OpRule,
    Refused,
    channels_of,
    check_batches,
    constant,
    map_input,
    out_fact,
    single,
)
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.ops.reference_math import activate, arithmetic
from rrm_onnx.types import Constant, EdgeFact, Match


def as_constant(values: NDArray[np.float32], x: EdgeFact) -> NDArray[np.float32]:
    """`values` as [1], [C] or [H, W, 1 or C] for a map; refused where they would widen it, or may do so."""
    shape = (1,) * (4 - values.ndim) + values.shape
    if values.size == 1 and values.ndim <= 4:
        return values.reshape(1)
    whole = not x.is_point and len(shape) == 4 and (shape[0], *shape[2:]) == (1, x.height, x.width)
    if whole and shape[1] in (1, x.channels):
        return np.ascontiguousarray(values.reshape(shape[1:]).transpose(1, 2, 0))
    if len(shape) != 4 or shape[0] != 1 or shape[2:] != (1, 1):
        raise Refused("broadcast", f"constant of shape {tuple(values.shape)} is not one value per channel, nor a map")
    if shape[1] != x.channels:
        raise Refused("broadcast", f"constant with {shape[1]} channels on a map with {x.channels}")
    return values.reshape(-1)


def common_size(a: int | None, b: int | None, a_point: bool, b_point: bool) -> int | None:
    """Size along one axis of the result; refused for a broadcast along one axis only."""
    if a_point or b_point:
        return b if a_point else a
    if a is not None and b is not None and a != b:
        raise Refused("broadcast", f"sizes {a} and {b} along one axis, only 1x1 maps are broadcast")
    if (a is None or b is None) and 1 in (a, b):
        raise Refused("broadcast", "a size of 1 against an unknown one along one axis, only 1x1 maps are broadcast")
    return a if a is not None else b


def broadcast(a: EdgeFact, b: EdgeFact) -> EdgeFact:
    """The fact of a (op) b."""
    ca, cb = channels_of(a), channels_of(b)
    if ca != cb and 1 not in (ca, cb):
        raise Refused("broadcast", f"{ca} and {cb} channels")
    check_batches(a, b)
    height = common_size(a.height, b.height, a.is_point, b.is_point)
    width = common_size(a.width, b.width, a.is_point, b.is_point)
    return out_fact(a if a.batch is not None else b, max(ca, cb), height, width)


class BinaryRule(OpRule):
    """a op b -> rrm.Binary, or rrm.BinaryConst where one side is a constant.

    Limits: two inputs; maps of one size, or one of them 1x1 or of one channel; a float32 constant of one value, of
    one per channel, or of the map's size.
    """

    makes = ("Binary", "BinaryConst")
    op_types = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum")

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        op = "Add" if node.op == "Sum" else node.op
        if len(node.inputs) != 2:
            raise Refused("arity", f"{len(node.inputs)} inputs, only 2 are supported")
        for side in (0, 1):
            values = constant(node, side)
            if values is not None:
                return self._with_constant(node, op, values, side, facts)
        (name_a, a), (name_b, b) = map_input(node, 0, facts), map_input(node, 1, facts)
        attributes = {"op": op, **NO_ACTIVATION}
        return single(node, "Binary", (name_a, name_b), attributes, broadcast(a, b), takes_activation=True)

    @staticmethod
    def _with_constant(node: gs.Node, op: str, values: NDArray[np.float32], side: int, facts: Facts) -> Match:
        name, x = map_input(node, 1 - side, facts)
        if values.dtype != np.float32:
            raise Refused("dtype", f"constant '{node.inputs[side].name}' is {values.dtype}, only float32 is supported")
        c = Constant(f"{node.name}/constant", as_constant(values, x))
        attributes = {"op": op, "reverse": int(side == 0), **NO_ACTIVATION}
        return single(node, "BinaryConst", (name,), attributes, x, constants=(c,), takes_activation=True)


# --- NumPy definition ----------------------------------------------------------------------------------------------


class Binary(SiteOp):
    """`a op b` of two maps, then an activation. Either may be 1x1 (one row for all sites) or have one channel."""

    takes: ClassVar[tuple[str, ...]] = ("ticket", "ticket")
    tickets: ClassVar[int] = 2
    op: str
    activation: str
    activation_params: Sequence[float] = ()

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        return activate(arithmetic(self.op, maps[0], maps[1]), self.activation, self.activation_params)


class BinaryConst(SiteOp):
    """`t op c`, or `c op t` where `reverse`, then an activation. c is one value, one a channel, or a map."""

    takes: ClassVar[tuple[str, ...]] = ("ticket", "c: float32 [1], [C] or [H, W, 1 or C]")
    op: str
    reverse: int
    activation: str
    activation_params: Sequence[float] = ()

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        a, b = (constants[0], maps[0]) if self.reverse else (maps[0], constants[0])
        return activate(arithmetic(self.op, a, b), self.activation, self.activation_params)
