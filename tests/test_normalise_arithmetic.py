"""Operators that are spelled out in others: the function stays, and they no longer part a region."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from models import Net, dense_ops
from native import Native, Plain, needs_library

import rrm_onnx

FORMS: dict[str, Callable[[Net, str], str]] = {
    "Selu": lambda n, x: n.add("Selu", x),
    "Selu with attributes": lambda n, x: n.add("Selu", x, alpha=0.5, gamma=2.0),
    "Celu": lambda n, x: n.add("Celu", x),
    "Celu with alpha": lambda n, x: n.add("Celu", x, alpha=0.3),
    "Softsign": lambda n, x: n.add("Softsign", x),
    "Reciprocal": lambda n, x: n.add("Reciprocal", n.add("Exp", n.add("Tanh", x))),
    "Max of three": lambda n, x: n.add("Max", x, n.add("Relu", x), n.add("Tanh", x)),
    "Min of three": lambda n, x: n.add("Min", n.add("Tanh", x), x, n.add("Sigmoid", x)),
    "square": lambda n, x: n.add("Pow", x, n.const(2.0)),
    "cube, whole": lambda n, x: n.add("Pow", x, n.const(3, np.int64)),
    "inverse": lambda n, x: n.add("Pow", n.add("Exp", n.add("Tanh", x)), n.const([-1.0])),
    "root": lambda n, x: n.add("Pow", n.add("Sigmoid", x), n.const(0.5)),
    "whole power": lambda n, x: n.add("Pow", n.add("Tanh", x), n.const(4, np.int32)),
    "power of a constant": lambda n, x: n.add("Pow", n.const(1.5), x),
    "Log": lambda n, x: n.add("Log", n.add("Sigmoid", x)),
    "Softplus, spelled out": lambda n, x: n.add("Log", n.add("Add", n.add("Exp", n.add("Tanh", x)), n.const(1.0))),
    "Sum of two": lambda n, x: n.add("Sum", x, n.add("Relu", x)),
    "Sum of three": lambda n, x: n.add("Sum", x, n.add("Relu", x), n.add("Tanh", x)),
    "Mean of one": lambda n, x: n.add("Mean", x),
    "Mean of three": lambda n, x: n.add("Mean", x, n.add("Relu", x), n.add("Tanh", x)),
}


@needs_library
@pytest.mark.parametrize("form", FORMS)
def test_spelled_out(form: str) -> None:
    net = Net(opset=18)
    x = net.conv(net.input(), 16, k=7)
    net.output(net.conv(FORMS[form](net, x), 16, 16, k=7))
    model = net.model()
    converted = rrm_onnx.convert(model)
    assert dense_ops(converted) == []
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1, 3, 16, 16)).astype(np.float32)
    plain, native = Plain(model), Native(converted)
    for _ in range(3):
        got, want = native.run([x.copy()])[0], plain.run([x])[0]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
        assert got.tobytes() == Native(converted).run([x])[0].tobytes()
        x[0, :, 3:6, 7] = rng.normal(size=(3, 3))


def test_other_tensors_stay() -> None:
    """Of rank 2, and of whole numbers."""
    net = Net(opset=18)
    y = net.conv(net.input(), 16, k=7)
    net.output(net.add("Selu", net.add("Flatten", net.add("GlobalAveragePool", y))))
    assert "Selu" in dense_ops(rrm_onnx.convert(net.model()))


@needs_library
def test_sums_that_broadcast_stay() -> None:
    net = Net(opset=18)
    x = net.conv(net.input(), 16, k=7)
    net.output(net.add("Sum", net.const(np.ones((1, 16, 1, 16))), x, net.add("Relu", x)))
    model = net.model()
    converted = rrm_onnx.convert(model)
    assert "Sum" in dense_ops(converted)
    x = np.random.default_rng(3).normal(size=(1, 3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(Native(converted).run([x])[0], Plain(model).run([x])[0], rtol=1e-4, atol=1e-5)
