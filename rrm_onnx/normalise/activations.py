"""Activations that a model spells out in arithmetic become one node each.

HardSigmoid  clip(a*x + b, lo, hi) * s      with lo*s = 0 and hi*s = 1, in any order of Add, Clip, Mul, Div
HardSwish    x * that                        with the scaling anywhere in the product
Silu         x * Sigmoid(x)
Gelu         0.5 * x * (1 + Erf(x / sqrt 2)) with the factors in any order; or, with its approximation,
             0.5 * x * (1 + Tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
Mish         x * Tanh(Softplus(x))

The function stays the same but for rounding. Tensors in between that something else reads are kept beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.normalise.polynomial import coefficients, polynomial
from rrm_onnx.normalise.tools import clip_range, producer, replace, with_scalar
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN

CLOSE = 1e-5  # float32 constants such as 1/6 or sqrt 2, in whatever way they were rounded


def join_activations(graph: gs.Graph, opset: int) -> None:
    """Rewrite every spelled-out activation; producers before readers."""
    for node in list(graph.nodes):
        if node.op in ("Mul", "Div"):
            _ = join_gated(graph, node) or join_hard_sigmoid(graph, node)
        elif node.op == "Clip":
            join_hard_sigmoid(graph, node)


def join_gated(graph: gs.Graph, root: gs.Node) -> bool:
    """Silu, Mish, HardSwish or Gelu: a constant times x times a function of x."""
    for factor, leaves in products(root.outputs[0]):
        for x, gate in (leaves, leaves[::-1]):
            node = producer(gate)
            if node is None or x.dtype != np.float32:
                continue
            if node.op == "Sigmoid" and node.inputs[0] is x and close(factor, 1.0):
                replace(graph, root, "Silu", [x], domain=COMPOSITE_DOMAIN)
                return True
            if is_tanh_of_softplus(node, x) and close(factor, 1.0):
                replace(graph, root, "Mish", [x], domain=COMPOSITE_DOMAIN)
                return True
            approximate = gelu_gate(node, x) if close(factor, 0.5) else None
            if approximate is not None:
                replace(graph, root, "Gelu", [x], {"approximate": approximate}, COMPOSITE_DOMAIN)
                return True
            hard = hard_gate(node, factor, x)
            if hard is not None:
                replace(graph, root, "HardSwish", [x], {"alpha": hard[0], "beta": hard[1]}, COMPOSITE_DOMAIN)
                return True
    return False


def products(tensor: gs.Tensor, depth: int = 3) -> Iterator[tuple[float, tuple[gs.Tensor, gs.Tensor]]]:
    """All ways to read a tensor as constant * a * b, by looking through Mul and Div up to `depth` nodes deep."""
    node = producer(tensor)
    if node is None or node.op not in ("Mul", "Div") or not depth or len(node.inputs) != 2:
        return
    constant = with_scalar(node)
    if constant is not None:
        inner, value, side = constant
        if node.op == "Div" and (side == 0 or value == 0):
            return
        share = value if node.op == "Mul" else 1 / value
        for factor, leaves in products(inner, depth - 1):
            yield factor * share, leaves
    elif node.op == "Mul":
        for f, a in scaled(node.inputs[0], depth - 1):
            for g, b in scaled(node.inputs[1], depth - 1):
                yield f * g, (a, b)


def scaled(tensor: gs.Tensor, depth: int) -> Iterator[tuple[float, gs.Tensor]]:
    """All ways to read a tensor as constant * a: itself first."""
    yield 1.0, tensor
    node = producer(tensor)
    if node is None or node.op not in ("Mul", "Div") or not depth:
        return
    constant = with_scalar(node)
    if constant is None or (node.op == "Div" and (constant[2] == 0 or constant[1] == 0)):
        return
    for factor, inner in scaled(constant[0], depth - 1):
        yield factor * (constant[1] if node.op == "Mul" else 1 / constant[1]), inner


def hard_gate(node: gs.Node, factor: float, x: gs.Tensor) -> tuple[float, float] | None:
    """(alpha, beta) where factor * node(...) = max(0, min(1, alpha * x + beta))."""
    if node.op == "HardSigmoid":
        if node.inputs[0] is not x or not close(factor, 1.0):
            return None
        return float(node.attrs.get("alpha", 0.2)), float(node.attrs.get("beta", 0.5))
    bounds = clip_range(node)
    if bounds is None or bounds[0] != 0 or not close(bounds[1] * factor, 1.0):
        return None
    line = affine(node.inputs[0], x)
    return None if line is None else (line[0] * factor, line[1] * factor)


def affine(tensor: gs.Tensor, x: gs.Tensor) -> tuple[float, float] | None:
    """(a, b) where tensor = a * x + b, through up to three nodes with a constant scalar; None where it is not."""
    a, b = 1.0, 0.0
    for _ in range(4):
        if tensor is x:
            return a, b
        step = affine_step(tensor)
        if step is None:
            return None
        tensor, slope, offset = step
        a, b = a * slope, b + a * offset
    return None


def affine_step(tensor: gs.Tensor) -> tuple[gs.Tensor, float, float] | None:
    """(inner, slope, offset) where tensor = slope * inner + offset."""
    node = producer(tensor)
    constant = with_scalar(node) if node is not None and node.op in ("Add", "Sub", "Mul", "Div") else None
    if node is None or constant is None:
        return None
    inner, value, side = constant
    if node.op == "Add":
        return inner, 1.0, value
    if node.op == "Sub":
        return (inner, 1.0, -value) if side == 1 else (inner, -1.0, value)
    if node.op == "Mul":
        return inner, value, 0.0
    return (inner, 1 / value, 0.0) if side == 1 and value else None


def join_hard_sigmoid(graph: gs.Graph, root: gs.Node) -> bool:
    """clip(...) * s -> HardSigmoid of the tensor before the arithmetic."""
    for factor, tensor in scaled(root.outputs[0], 2):
        node = producer(tensor)
        if node is None or node.op != "Clip":
            continue
        bounds = clip_range(node)
        if bounds is None or bounds[0] != 0 or not close(bounds[1] * factor, 1.0):
            continue
        x = node.inputs[0]
        for _ in range(2):
            step = affine_step(x)
            if step is None:
                break
            x = step[0]
        line = affine(node.inputs[0], x)
        # A bare clip to 0..1 is a Clip, which every kernel has too.
        if line is None or x is node.inputs[0] or x.dtype != np.float32 or line[0] <= 0:
            continue
        replace(graph, root, "HardSigmoid", [x], {"alpha": line[0] * factor, "beta": line[1] * factor})
        return True
    return False


def is_tanh_of_softplus(node: gs.Node, x: gs.Tensor) -> bool:
    inner = producer(node.inputs[0]) if node.op == "Tanh" else None
    return inner is not None and inner.op == "Softplus" and inner.inputs[0] is x


def gelu_gate(node: gs.Node, x: gs.Tensor) -> str | None:
    """Gelu's attribute `approximate` where the node is 1 + Erf(x / sqrt 2), or that with Tanh."""
    plus = with_scalar(node) if node.op == "Add" else None
    inner = producer(plus[0]) if plus is not None and close(plus[1], 1.0) else None
    found = polynomial(inner.inputs[0], x) if inner is not None and inner.op in ("Erf", "Tanh") else None
    if inner is None or found is None:
        return None
    constant, slope, square, cube = coefficients(found)
    if constant or square:
        return None
    if inner.op == "Erf":
        return "none" if close(slope, 1 / math.sqrt(2.0)) and not cube else None
    root = math.sqrt(2.0 / math.pi)
    return "tanh" if close(slope, root) and close(cube, 0.044715 * root) else None


def close(a: float, b: float) -> bool:
    return abs(a - b) <= CLOSE * abs(b)
