"""Which convolutions take over the addition behind them, and what they become."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from decisions import fused
from models import Net

import rrm_onnx
from rrm_onnx.pack import nodes_of

MAP = (1, 8, 16, 16)
PLAIN = {"MaxPool": {"kernel_shape": [3, 3], "pads": [1] * 4}}


def block(between: str = "", op: str = "Add", swapped: bool = False, shape: tuple[int | str, ...] = MAP) -> Net:
    """A residual block: the sum of `first` and of a convolution `conv` of it, then a Relu."""
    net = Net()
    x = net.conv(net.input(shape=shape), c=8, name="first")
    t = net.conv(x, c=8, name="conv")
    t = net.add(between, t, name="between", **PLAIN.get(between, {})) if between else t
    t = net.add(op, *((x, t) if swapped else (t, x)), name="add")
    net.output(net.add("Relu", t, name="relu"))
    return net


@pytest.mark.parametrize("swapped", [False, True])
def test_the_pair_becomes_one(swapped: bool) -> None:
    found = fused(block(swapped=swapped).model())
    assert list(found) == ["first", "add"]
    match = found["add"]
    assert set(match.absorbed) == {"conv", "relu"} and match.is_convolution
    (node,) = match.emits
    assert (node.op, node.name, node.inputs) == ("ConvAdd", "conv", ("t0", "t0"))
    assert node.attributes["activation"] == "Relu" and match.macs == 16 * 16 * 8 * 8 * 9


@pytest.mark.parametrize(
    "net",
    [
        block(between="Relu"),  # an activation in front of the sum
        block(between="MaxPool"),
        block(op="Sub"),
        block(shape=(1, 8, "H", "W")),  # a size that may turn out to be one
    ],
)
def test_other_pairs_stay_two(net: Net) -> None:
    assert {"conv", "add"} <= set(fused(net.model()))


def test_only_exact_convolutions() -> None:
    assert set(fused(block().model(), tolerance=0.1)) == {"first", "conv", "add"}


def test_not_where_somebody_else_reads_between() -> None:
    net = block()
    net.output("t1")
    assert {"conv", "add"} <= set(fused(net.model()))


def test_a_projection_is_a_shortcut_too() -> None:
    """Both sides are convolutions of one tensor: the first in the graph takes over the sum."""
    net = Net()
    x = net.conv(net.input(shape=MAP), c=8, name="first")
    net.output(net.add("Add", net.conv(x, c=8, name="a"), net.conv(x, c=8, name="b"), name="add"))
    found = fused(net.model())
    assert set(found) == {"first", "b", "add"} and found["add"].emits[0].name == "a"


def test_not_what_enters_or_comes_from_elsewhere() -> None:
    """A dense addend would have to enter; a pyramid's comes from below, and changes over more sites."""
    net = Net()
    net.output(net.add("Add", net.conv(net.input(shape=MAP), c=8, name="conv"), net.input("z", MAP), name="add"))
    assert set(fused(net.model())) == {"conv", "add"}
    net = Net()
    x = net.conv(net.input(shape=MAP), c=8, name="first")
    below = net.conv(x, c=8, strides=[2, 2], name="below")
    above = net.add("Resize", below, "", net.const([1, 1, 2, 2]), name="up")
    net.output(net.add("Add", net.conv(x, c=8, k=1, name="lateral"), above, name="add"))
    assert {"lateral", "up", "add"} <= set(fused(net.model()))


def test_inputs_that_are_left_out_are_no_origin() -> None:
    """A Resize without a region of interest, behind the convolution: an input without a name."""
    net = Net()
    x = net.conv(net.input(shape=MAP), c=8, name="first")
    t = net.add("Resize", x, "", net.const([1, 1, 1, 1]), name="same")
    net.output(net.add("Add", net.conv(t, c=8, name="conv"), x, name="add"))
    assert set(fused(net.model())) == {"first", "same", "add"}


def operators(model: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in nodes_of(model)]


def test_a_converted_block() -> None:
    """A separable convolution with its shortcut: one node where it is exact, two under a tolerance."""
    net = Net()
    x = net.conv(net.input(), m=128, name="first")
    t = net.add("Conv", x, net.const(np.ones((128, 1, 3, 3))), group=128, pads=[1] * 4, name="deep")
    t = net.add("Conv", t, net.const(np.ones((128, 128, 1, 1))), name="point")
    net.output(net.add("Add", t, x, name="add"))
    assert operators(rrm_onnx.convert(net.model())) == ["Enter", "Conv", "SeparableConvAdd", "Exit"]
    loose = rrm_onnx.convert(net.model(), tolerance=0.1)
    assert operators(loose) == ["Enter", "Conv", "SeparableConv", "Binary", "Exit"]


def test_a_sum_at_the_border_is_handed_back() -> None:
    """Fusing comes behind the regions: what is worth converting does not depend on it."""
    net = Net()
    t = net.conv(net.input(shape=(1, 16, 32, 32)), m=64, c=16, name="conv")
    net.output(net.add("Add", t, net.input("z", (1, 64, 32, 32)), name="add"))
    assert operators(rrm_onnx.convert(net.model())) == ["Enter", "Conv", "Exit", "Add"]
