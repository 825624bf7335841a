"""Activations: functions of one element. They stand alone, or are fused into the node before (match.py).

Silu, Mish, HardSwish with its alpha and beta, and Gelu arrive under these names from normalise/activations.py, whatever
their spelling in the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import Facts, OpRule, Refused, attribute, channels_of, constant, map_input, parameter, single
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.ops.reference_math import activate
from rrm_onnx.types import Match

FLOAT_MAX = 3.402823466e38

# ONNX operators without parameters, and the name of the activation
PLAIN = {
    "Relu": "Relu",
    "Sigmoid": "Sigmoid",
    "Tanh": "Tanh",
    "Abs": "Abs",
    "Sign": "Sign",
    "Neg": "Neg",
    "Exp": "Exp",
    "Log": "Log",
    "Sqrt": "Sqrt",
    "Erf": "Erf",
    "Softplus": "Softplus",
    "Mish": "Mish",
    "Silu": "Silu",
}


def clip_bounds(node: gs.Node) -> tuple[float, float]:
    """min and max of a Clip, from attributes (opset < 11) or inputs."""
    bounds = []
    for index, (name, absent) in enumerate((("min", -FLOAT_MAX), ("max", FLOAT_MAX)), start=1):
        value = parameter(node, name, index)
        bounds.append(absent if value is None else float(np.clip(value.reshape(()), -FLOAT_MAX, FLOAT_MAX)))
    return bounds[0], bounds[1]


def prelu_slope(node: gs.Node, channels: int) -> tuple[float, ...]:
    """Slope of a PRelu: one value, or one per channel."""
    slope = constant(node, 1)
    if slope is None:
        raise Refused("weight-not-constant", f"slope '{node.inputs[1].name}' is computed or an input, not a constant")
    if slope.size == 1:
        return (float(slope.reshape(())),)
    shape = (1,) * (4 - slope.ndim) + slope.shape
    if slope.ndim > 4 or shape != (1, channels, 1, 1):
        raise Refused("broadcast", f"slope of shape {slope.shape} is not one value per channel")
    return tuple(float(v) for v in slope.ravel())


def activation_of(node: gs.Node, channels: int) -> tuple[str, tuple[float, ...]]:
    """(activation, activation_params) of an activation node over a map with `channels` channels."""
    op = node.op
    if op in PLAIN:
        return PLAIN[op], ()
    if op == "LeakyRelu":
        return op, (float(attribute(node, "alpha", 0.01)),)
    if op == "Elu":
        return op, (float(attribute(node, "alpha", 1.0)),)
    if op == "PRelu":
        return op, prelu_slope(node, channels)
    if op == "Clip":
        return op, clip_bounds(node)
    if op == "HardSigmoid":
        return op, (float(attribute(node, "alpha", 0.2)), float(attribute(node, "beta", 0.5)))
    if op == "HardSwish":
        return op, (float(attribute(node, "alpha", 1 / 6)), float(attribute(node, "beta", 0.5)))
    if op == "Swish":
        if float(attribute(node, "alpha", 1.0)) != 1.0:
            raise Refused("attribute", "Swish with alpha other than 1")
        return "Silu", ()
    assert op == "Gelu", op
    return ("GeluTanh" if str(attribute(node, "approximate", "none")) == "tanh" else "Gelu"), ()


class ActivationRule(OpRule):
    """f(x) -> rrm.Activation, or into the node before, where nothing else reads that (match.py).

    Limits: constant bounds of Clip; a constant slope of PRelu, one value or one per channel; Swish with
    alpha 1.
    """

    makes = ("Activation",)
    op_types = (*PLAIN, "LeakyRelu", "Elu", "PRelu", "Clip", "HardSigmoid", "HardSwish", "Swish", "Gelu")

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        activation, params = activation_of(node, channels_of(x))
        return single(node, "Activation", (name,), {"activation": activation, "activation_params": params}, x)


# --- NumPy definition ----------------------------------------------------------------------------------------------


class Activation(SiteOp):
    """A function of each element."""

    activation: str
    activation_params: Sequence[float] = ()

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        return activate(maps[0], self.activation, self.activation_params)
