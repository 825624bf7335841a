"""Which convolutions take over the addition behind them, and what they become."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from models import Net

import rrm_onnx
from rrm_onnx.match import match
from rrm_onnx.normalise.shapes import infer
from rrm_onnx.types import Decision, Match, Normalised

MAP = (1, 8, 16, 16)
PLAIN = {"MaxPool": {"kernel_shape": [3, 3], "pads": [1] * 4}}


def decided(net: Net, exact: bool = True, skip: tuple[str, ...] = ()) -> dict[str, Decision]:
    model = net.model()
    return match(Normalised(gs.import_onnx(infer(model)), model, 17), skip, lambda _: exact)


def block(between: str = "", shape: tuple[int, ...] = MAP, op: str = "Add", swapped: bool = False) -> Net:
    """A convolution `conv`, an `add` of its output and another map, and a Relu."""
    net = Net()
    t = net.conv(net.input(shape=MAP), c=8, name="conv")
    t = net.add(between, t, name="between", **PLAIN.get(between, {})) if between else t
    pair = [t, net.input("z", shape)]
    t = net.add(op, *(reversed(pair) if swapped else pair), name="add")
    net.output(net.add("Relu", t, name="relu"))
    return net


@pytest.mark.parametrize("swapped", [False, True])
def test_the_pair_becomes_one(swapped: bool) -> None:
    found = decided(block(swapped=swapped))
    assert list(found) == ["add"]
    match_ = found["add"]
    assert isinstance(match_, Match) and set(match_.absorbed) == {"conv", "relu"} and match_.is_convolution
    (node,) = match_.emits
    assert (node.op, node.name, node.inputs[1]) == ("ConvAdd", "conv", "z")
    assert node.attributes["activation"] == "Relu" and match_.macs == 16 * 16 * 8 * 8 * 9


@pytest.mark.parametrize(
    "net",
    [
        block(between="Relu"),  # an activation in front of the sum
        block(between="MaxPool"),
        block(shape=(1, 8, 1, 1)),  # a broadcast
        block(shape=(1, 8, "H", "W")),  # a size that may turn out to be one
        block(op="Sub"),
    ],
)
def test_other_pairs_stay_two(net: Net) -> None:
    found = decided(net)
    assert {"conv", "add"} <= set(found)
    assert not any(n.op == "ConvAdd" for m in found.values() if isinstance(m, Match) for n in m.emits)


def test_only_exact_convolutions() -> None:
    assert set(decided(block(), exact=False)) == {"conv", "add"}


def test_not_where_somebody_else_reads_between() -> None:
    net = block()
    net.output("t0")
    assert set(decided(net)) == {"conv", "add"}


def test_the_first_of_two_convolutions() -> None:
    net = Net()
    x = net.input(shape=MAP)
    net.output(net.add("Add", net.conv(x, c=8, name="a"), net.conv(x, c=8, name="b"), name="add"))
    found = decided(net)
    assert set(found) == {"b", "add"}
    fused = found["add"]
    assert isinstance(fused, Match) and fused.emits[0].name == "a"


def operators(model: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def test_a_converted_block() -> None:
    """A separable convolution with its shortcut: one node where it is exact, two under a tolerance."""
    net = Net()
    x = net.input(shape=(1, 128, 16, 16))
    t = net.add("Conv", x, net.const(np.ones((128, 1, 3, 3))), group=128, pads=[1] * 4, name="deep")
    t = net.add("Conv", t, net.const(np.ones((128, 128, 1, 1))), name="point")
    net.output(net.add("Add", t, x, name="add"))
    assert operators(rrm_onnx.convert(net.model())) == ["Enter", "SeparableConvAdd", "Exit"]
    assert operators(rrm_onnx.convert(net.model(), tolerance=0.1)) == ["Enter", "SeparableConv", "Binary", "Exit"]
