"""What arithmetic with constants makes of a tensor, as a polynomial: exporters spell x + 0.044715 x^3 in many ways."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.polynomial import Polynomial

from rrm_onnx.normalise.tools import producer, scalar

MOST_NODES = 8  # deep
MOST_DEGREE = 3


def polynomial(tensor: gs.Tensor, x: gs.Tensor, depth: int = MOST_NODES) -> Polynomial | None:
    """The polynomial p with tensor = p(x), of degree 3 at most; None where it is none, or not seen to be one."""
    if tensor is x:
        return Polynomial([0.0, 1.0])
    value = scalar(tensor)
    if value is not None:
        return Polynomial([value])
    node = producer(tensor)
    if node is None or not depth or node.op not in ("Add", "Sub", "Mul", "Div", "Pow") or len(node.inputs) != 2:
        return None
    a, b = (polynomial(t, x, depth - 1) for t in node.inputs)
    found = None if a is None or b is None else combined(node.op, a.trim(), b.trim())
    return None if found is None or found.degree() > MOST_DEGREE else found


def combined(op: str, a: Polynomial, b: Polynomial) -> Polynomial | None:
    if op == "Add":
        return a + b
    if op == "Sub":
        return a - b
    if op == "Mul":
        return a * b
    if b.degree() > 0:
        return None
    value = float(b.coef[0])
    if op == "Div":
        return a / value if value else None
    return a ** int(value) if value in range(MOST_DEGREE + 1) else None


def coefficients(found: Polynomial) -> list[float]:
    """Of x^0 to x^3."""
    return list(np.pad(found.coef, (0, MOST_DEGREE + 1 - len(found.coef))))
