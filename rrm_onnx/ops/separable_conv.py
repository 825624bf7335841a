"""SeparableConv: a depthwise convolution and the 1x1 convolution that alone reads it, in one operator.

y = pointwise(activation(depthwise(x))), each with its bias. Between the two stands the depthwise one's gate: the 1x1
part is computed at the sites where a row between them passes it. Where that gate is exact there is none: every active
site is computed through, and no rows between need to be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from rrm_onnx.ops.conv import WindowOp, correlate
from rrm_onnx.ops.reference_base import Map, Resident, SiteOp, Sites, StreamState
from rrm_onnx.ops.reference_math import Taps, activate
from rrm_onnx.types import Match


def joined(deep: Match, point: Match) -> Match | None:
    """One match for a Conv and the Conv that alone reads it; None where the two are no such pair."""
    (first,), (second,) = deep.emits, point.emits
    w, pointwise = first.constants[0].values, second.constants[0].values
    group = first.attributes["group"]
    depthwise = group == w.shape[0] and w.shape[1] == 1 and w.shape[0] > 1
    window = point.window
    one_by_one = (window.kernel, window.strides, window.pads) == ((1, 1), (1, 1), (0, 0, 0, 0))
    if not depthwise or not one_by_one or second.attributes["group"] != 1 or pointwise.shape[1] != w.shape[0]:
        return None
    attributes = {k: v for k, v in first.attributes.items() if k not in ("group", "threshold", "scale")}
    inner = {f"inner_{k}": attributes.pop(k) for k in ("activation", "activation_params")}
    outer = {k: v for k, v in second.attributes.items() if k in ("activation", "activation_params")}
    emitted = replace(
        second,
        op="SeparableConv",
        inputs=first.inputs,
        constants=(*first.constants, *second.constants),
        attributes={**attributes, **inner, **INNER_GATE, **outer, "threshold": 0.0, "scale": 0.0},
        inner=first.name,
    )
    macs = None if deep.macs is None or point.macs is None else deep.macs + point.macs
    absorbed = (deep.node, *deep.absorbed, *point.absorbed)
    return replace(point, emits=(emitted,), macs=macs, absorbed=absorbed, window=deep.window)


INNER_GATE = {"inner_threshold": 0.0, "inner_scale": 0.0}


# --- NumPy definition ----------------------------------------------------------------------------------------------


@dataclass
class SeparableState(StreamState):
    """With the rows between the two convolutions."""

    inner: Resident = field(default_factory=Resident)


class SeparableConv(WindowOp):
    """ONNX's depthwise Conv with bias, an activation and a gate, then a 1x1 Conv with bias, an activation and a gate.

    Where `inner_threshold` is 0 there is no gate between the two.
    """

    origin: ClassVar[str] = "a depthwise `Conv` and the 1x1 `Conv` that alone reads it"
    takes: ClassVar[tuple[str, ...]] = (
        "ticket",
        "W: float32 [C, 1, kh, kw]",
        "B: float32 [C]",
        "W of the 1x1 part: float32 [M, C, 1, 1]",
        "its B: float32 [M]",
    )
    gated: ClassVar[bool] = True
    state_type: ClassVar[type[StreamState]] = SeparableState
    inner_activation: str
    inner_activation_params: Sequence[float] = ()
    inner_threshold: float
    inner_scale: float
    activation: str
    activation_params: Sequence[float] = ()

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        return self._pointwise(self._depthwise(maps[0], *constants[:2]), *constants[2:])

    def update(
        self,
        state: StreamState,
        maps: list[Map],
        constants: Sequence[Any],
        active: Sites,
        held_is_valid: bool,
        tolerance: float,
    ) -> None:
        if self.inner_threshold <= 0:
            return super().update(state, maps, constants, active, held_is_valid, tolerance)
        assert isinstance(state, SeparableState)
        inner = state.inner
        fresh = self._depthwise(maps[0], *constants[:2])
        passed = inner.gate(fresh, active, held_is_valid, self.inner_threshold * tolerance, self.inner_scale)
        # With a narrower factor a row behind may be too far off although the row between stands.
        reached = active if state.narrower else passed
        self.commit(state.resident, self._pointwise(inner.rows, *constants[2:]), reached, held_is_valid, tolerance)

    def _depthwise(self, fmap: Map, w: Any, b: Any) -> Map:
        c = w.shape[0]
        taps = self.taps(0, fmap.shape, self.output_shape([fmap.shape]))
        per_tap = w.reshape(c, 1, 1, *w.shape[2:]).transpose(3, 4, 0, 2, 1)
        return activate(correlate(fmap, taps, per_tap, b), self.inner_activation, self.inner_activation_params)

    def _pointwise(self, fmap: Map, w: Any, b: Any, addend: Any = 0.0) -> Map:
        total = fmap.astype(np.float64) @ w[:, :, 0, 0].T.astype(np.float64) + b.astype(np.float64)
        return activate(total + addend, self.activation, self.activation_params)


class SeparableConvAdd(SeparableConv):
    """SeparableConv plus a map of the output's size, before the last activation. There is no gate inside."""

    origin: ClassVar[str] = "an exact SeparableConv and the `Add` that alone reads it, as for ConvAdd"
    takes: ClassVar[tuple[str, ...]] = ("ticket", "ticket of the addend", *SeparableConv.takes[1:])
    tickets: ClassVar[int] = 2

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        return super().taps(index, shape, out) if index == 0 else SiteOp.taps(self, index, shape, out)

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        w, b, pointwise, bias = constants
        return self._pointwise(self._depthwise(maps[0], w, b), pointwise, bias, maps[1])

    def update(self, *args: Any) -> None:
        SiteOp.update(self, *args)
