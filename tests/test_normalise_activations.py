"""Activations that a model spells out with several operators are one; what only looks like one stays."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from models import Net, chain
from normalised import between, same_function


def clip06(net: Net, x: str) -> str:
    if net.opset < 11:
        return net.add("Clip", x, min=0.0, max=6.0)
    return net.add("Clip", x, net.const(0.0), net.const(6.0))


def relu6_min_max(net: Net, x: str) -> str:
    return net.add("Min", net.add("Max", x, net.const(0.0)), net.const(6.0))


HARD_SWISH: dict[str, Callable[[Net, str], str]] = {
    "(x * clip(x + 3)) / 6": lambda n, x: n.add(
        "Div", n.add("Mul", x, clip06(n, n.add("Add", x, n.const(3.0)))), n.const(6.0)
    ),
    "x * (clip(3 + x) / 6)": lambda n, x: n.add(
        "Mul", x, n.add("Div", clip06(n, n.add("Add", n.const([3.0]), x)), n.const(6.0))
    ),
    "(1/6 * clip(x + 3)) * x": lambda n, x: n.add(
        "Mul", n.add("Mul", n.const(1 / 6), clip06(n, n.add("Add", x, n.const([[[3.0]]])))), x
    ),
    "(x * 1/6) * clip(x + 3)": lambda n, x: n.add(
        "Mul", n.add("Mul", x, n.const(1 / 6)), clip06(n, n.add("Add", x, n.const(3.0)))
    ),
    "x * clip(x - -3) * 1/6, Min and Max": lambda n, x: n.add(
        "Mul", n.add("Mul", x, relu6_min_max(n, n.add("Sub", x, n.const(-3.0)))), n.const(1 / 6)
    ),
    "x * HardSigmoid(x)": lambda n, x: n.add("Mul", x, n.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
    "HardSwish": lambda n, x: n.add("Mul", n.add("HardSigmoid", x, alpha=0.2, beta=0.4), x),
}


@pytest.mark.parametrize("spelling", HARD_SWISH)
@pytest.mark.parametrize("opset", [9, 13])
def test_hard_swish(spelling: str, opset: int) -> None:
    ops = same_function(between(HARD_SWISH[spelling], opset))
    assert ops == {"Conv": 2, "HardSwish": 1}


def test_hard_swish_operator_of_opset_14() -> None:
    assert same_function(chain("HardSwish", opset=14))["HardSwish"] == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda n, x: n.add("Div", clip06(n, n.add("Add", x, n.const(3.0))), n.const(6.0)),
        lambda n, x: n.add("Mul", n.const(1 / 6), clip06(n, n.add("Add", x, n.const(3.0)))),
        lambda n, x: n.add(
            "Clip", n.add("Add", n.add("Mul", x, n.const(0.2)), n.const(0.5)), n.const(0.0), n.const(1.0)
        ),
    ],
)
def test_hard_sigmoid(build: Callable[[Net, str], str]) -> None:
    ops = same_function(between(lambda n, x: build(n, n.add("Abs", x))))
    assert ops["HardSigmoid"] == 1 and ops["Clip"] == 0


def test_gate_of_another_tensor_is_no_hard_swish() -> None:
    """x * HardSigmoid(y) is a squeeze-excite gate."""
    ops = same_function(between(lambda n, x: n.add("Mul", x, n.add("HardSigmoid", n.add("GlobalAveragePool", x)))))
    assert ops["HardSwish"] == 0 and ops["Mul"] == 1


def test_wrong_constants_are_no_hard_swish() -> None:
    def nearly(n: Net, x: str) -> str:
        return n.add("Div", n.add("Mul", x, clip06(n, n.add("Add", x, n.const(3.0)))), n.const(5.0))

    assert same_function(between(nearly))["HardSwish"] == 0


def test_silu_with_another_reader() -> None:
    """The sigmoid is read twice: it stays beside the Silu."""
    net = Net()
    x = net.conv(net.input(), 8)
    s = net.add("Sigmoid", x)
    net.output(net.add("Mul", s, x, out="y"))
    net.output(net.add("Relu", s, out="z"))
    ops = same_function(net.model())
    assert ops["Silu"] == 1 and ops["Sigmoid"] == 1 and ops["Mul"] == 0


GELU: list[Callable[[Net, str, str], str]] = [
    lambda n, x, e: n.add("Mul", n.add("Mul", x, n.add("Add", e, n.const(1.0))), n.const(0.5)),
    lambda n, x, e: n.add("Mul", n.add("Mul", n.const(0.5), x), n.add("Add", n.const(1.0), e)),
    lambda n, x, e: n.add("Mul", x, n.add("Mul", n.add("Add", e, n.const(1.0)), n.const(0.5))),
]


@pytest.mark.parametrize("build", GELU)
@pytest.mark.parametrize("divide", [True, False])
def test_gelu(build: Callable[[Net, str, str], str], divide: bool) -> None:
    def gelu(n: Net, x: str) -> str:
        root = math.sqrt(2.0)
        inner = n.add("Div", x, n.const(root)) if divide else n.add("Mul", x, n.const(1 / root))
        return build(n, x, n.add("Erf", inner))

    assert same_function(between(gelu)) == {"Conv": 2, "Gelu": 1}


CURVES: dict[str, Callable[[Net, str], str]] = {  # sqrt(2 / pi) * (x + 0.044715 x^3)
    "Pow": lambda n, x: n.add(
        "Mul", n.const(0.79788456), n.add("Add", x, n.add("Mul", n.const(0.044715), n.add("Pow", x, n.const(3.0))))
    ),
    "products": lambda n, x: n.add(
        "Mul",
        n.add("Add", n.add("Mul", n.add("Mul", x, n.add("Mul", x, x)), n.const(0.044715)), x),
        n.const(0.79788456),
    ),
    "x taken out": lambda n, x: n.add(
        "Mul",
        n.add("Mul", x, n.const(0.79788456)),
        n.add("Add", n.const(1.0), n.add("Mul", n.add("Mul", x, x), n.const(0.044715))),
    ),
}


@pytest.mark.parametrize("build", GELU)
@pytest.mark.parametrize("curve", CURVES)
def test_gelu_with_tanh(build: Callable[[Net, str, str], str], curve: str) -> None:
    model = between(lambda n, x: build(n, x, n.add("Tanh", CURVES[curve](n, x))))
    assert same_function(model) == {"Conv": 2, "Gelu": 1}


@pytest.mark.parametrize("factor", [0.05, 0.0])
def test_another_curve_is_no_gelu(factor: float) -> None:
    def nearly(n: Net, x: str) -> str:
        cube = n.add("Mul", n.add("Pow", x, n.const(3.0)), n.const(factor))
        tanh = n.add("Tanh", n.add("Mul", n.const(0.79788456), n.add("Add", x, cube)))
        return GELU[0](n, x, tanh)

    assert same_function(between(nearly))["Gelu"] == 0


def test_mish() -> None:
    ops = same_function(between(lambda n, x: n.add("Mul", n.add("Tanh", n.add("Softplus", x)), x)))
    assert ops == {"Conv": 2, "Mish": 1}


def test_gate_of_another_tensor_is_no_mish() -> None:
    ops = same_function(between(lambda n, x: n.add("Mul", n.add("Tanh", n.add("Softplus", n.add("Abs", x))), x)))
    assert ops["Mish"] == 0 and ops["Mul"] == 1


def test_clips_merge() -> None:
    assert same_function(between(relu6_min_max)) == {"Conv": 2, "Clip": 1}
