"""LayerNormalization over the channels of each site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import Facts, OpRule, Refused, attribute, channels_of, has_input, map_input, single, weight
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.types import Constant, Match


class LayerNormRule(OpRule):
    """LayerNormalization over the channels of a map -> rrm.LayerNormalization. ONNX's own is over the last axes; that
    of a map turned to NHWC, and one that a model spells out over axis 1, arrive as over the channels from
    normalise/channels.py and normalise/layer_norm.py.

    Limits: over channels only; a constant scale and bias; its outputs Mean and InvStdDev are not asked for.
    """

    op_types = ("LayerNormalization",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        axis = int(attribute(node, "axis", -1)) % 4
        if node.domain != COMPOSITE_DOMAIN or axis != 1:
            raise Refused("axis", f"over axis {axis} and all behind it, only over the channels is supported")
        scale = weight(node, 1, 1, "scale")
        zeros = Constant(f"{node.name}/bias", np.zeros_like(scale.values))
        bias = weight(node, 2, 1, "bias") if has_input(node, 2) else zeros
        if len(scale.values) != channels_of(x) or len(bias.values) != channels_of(x):
            raise Refused("shape", f"scale or bias do not fit {channels_of(x)} channels")
        attributes = {"epsilon": float(attribute(node, "epsilon", 1e-5))}
        return single(node, "LayerNormalization", (name,), attributes, x, constants=(scale, bias))


# --- NumPy definition ----------------------------------------------------------------------------------------------


class LayerNormalization(SiteOp):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, with mean and variance over the channels of the site."""

    takes: ClassVar[tuple[str, ...]] = ("ticket", "scale: float32 [C]", "bias: float32 [C]")
    epsilon: float

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        x = maps[0].astype(np.float64)
        with np.errstate(all="ignore"):
            x = x - x.mean(axis=2, keepdims=True)
            x = x / np.sqrt(np.square(x).mean(axis=2, keepdims=True) + self.epsilon)
            return np.asarray(x * constants[0] + constants[1], dtype=np.float32)
