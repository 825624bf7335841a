"""InstanceNormalization: each channel by its mean and variance over all sites; GroupNormalization: by those of a group.

It mixes sites, so it is written as global means and a line for each channel:

m = mean(x);  v = mean((x - m)^2);  r = scale / sqrt(v + epsilon);  y = x * r + (bias - m * r)

m and r are single sites, and each ends in a gate: a convolution with one tap, depthwise, or one that takes the mean
over the channels of a group (v has such a one too, then). In exact mode a change anywhere
moves both, and with them every site; under a tolerance the gates hold them while they differ little.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.geometry import Window
from rrm_onnx.ops.base import (
    EXACT_GATE,
    NO_ACTIVATION,
    Facts,
    OpRule,
    Refused,
    attribute,
    channels_of,
    map_input,
    out_fact,
    weight,
    window_attributes,
)
from rrm_onnx.types import Attribute, Constant, EdgeFact, Match, RrmNode


class InstanceNormRule(OpRule):
    """InstanceNormalization, GroupNormalization -> global means, gates, and x * r + t.

    Limits: a constant scale and bias.
    """

    makes = ("GlobalAveragePool", "Conv", "Binary", "BinaryConst")
    op_types = ("InstanceNormalization", "GroupNormalization")

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        c = channels_of(x)
        groups = int(attribute(node, "num_groups", c))
        scale, bias = (weight(node, i, 1, what).values for i, what in ((1, "scale"), (2, "bias")))
        if scale.size == bias.size == groups and c % groups == 0:  # opset 18 has one for each group
            scale, bias = np.repeat(scale, c // groups), np.repeat(bias, c // groups)
        if scale.size != c or bias.size != c or c % groups:
            raise Refused("shape", f"scale or bias do not fit {c} channels, or {groups} groups do not")
        steps = Steps(node, x)
        shares = np.full((c, c // groups, 1, 1), groups / c, np.float32)
        mean = steps.gate("mean", steps.pooled("average", name), shares)
        square = steps.binary("square", "Sub", name, mean, activation="Square")
        variance = steps.pooled("variance", square)
        if groups != c:
            variance = steps.gate("spread", variance, shares)
        epsilon = float(attribute(node, "epsilon", 1e-5))
        deviation = steps.with_constant("deviation", "Add", variance, [epsilon], activation="Sqrt")
        factor = steps.gate(
            "factor", steps.with_constant("inverse", "Div", deviation, [1.0], reverse=1), scale.reshape(c, 1, 1, 1)
        )
        shift = steps.with_constant("shift", "Sub", steps.binary("product", "Mul", mean, factor), bias, reverse=1)
        steps.last("Add", steps.binary("scaled", "Mul", name, factor), shift)
        return Match(node.name, node.op, tuple(steps.nodes), steps.facts, takes_activation=True)


class Steps:
    """The nodes in the making; each method returns the tensor that its node makes, of the name `<output>/<role>`."""

    def __init__(self, node: gs.Node, x: EdgeFact) -> None:
        self.name, self.output = node.name, node.outputs[0].name
        self.channels = channels_of(x)
        self.map, self.point = x, out_fact(x, self.channels, 1, 1)
        self.nodes: list[RrmNode] = []
        self.facts: dict[str, EdgeFact] = {}

    def add(
        self,
        role: str,
        op: str,
        inputs: tuple[str, ...],
        attributes: Mapping[str, Attribute],
        fact: EdgeFact,
        *constants: NDArray[np.float32],
    ) -> str:
        own = f"{self.name}/{role}"
        named = tuple(Constant(f"{own}/{i}", np.asarray(v, np.float32)) for i, v in enumerate(constants))
        tensor = f"{self.output}/{role}"
        self.nodes.append(RrmNode(op, own, inputs, (tensor,), named, attributes))
        self.facts[tensor] = fact
        return tensor

    def pooled(self, role: str, x: str) -> str:
        return self.add(role, "GlobalAveragePool", (x,), {}, self.point)

    def gate(self, role: str, x: str, weights: NDArray[np.float32]) -> str:
        """A convolution of a single site, and so a gate. weights: [C, channels of a group, 1, 1]"""
        c = self.channels
        group = c // weights.shape[1]
        attributes = {**window_attributes(Window((1, 1))), "group": group, **NO_ACTIVATION, **EXACT_GATE}
        return self.add(role, "Conv", (x,), attributes, self.point, weights, np.zeros(c, np.float32))

    def binary(self, role: str, op: str, a: str, b: str, activation: str = "None") -> str:
        fact = self.point if a in self.facts and self.facts[a].is_point else self.map
        return self.add(role, "Binary", (a, b), {"op": op, "activation": activation, "activation_params": ()}, fact)

    def with_constant(
        self,
        role: str,
        op: str,
        x: str,
        values: NDArray[np.float32] | list[float],
        reverse: int = 0,
        activation: str = "None",
    ) -> str:
        attributes: dict[str, Attribute] = {"op": op, "reverse": reverse, "activation": activation}
        return self.add(
            role,
            "BinaryConst",
            (x,),
            {**attributes, "activation_params": ()},
            self.point,
            np.asarray(values, np.float32),
        )

    def last(self, op: str, a: str, b: str) -> None:
        """The node with the source's own name and output."""
        self.nodes.append(RrmNode("Binary", self.name, (a, b), (self.output,), (), {"op": op, **NO_ACTIVATION}))
        self.facts[self.output] = self.map
