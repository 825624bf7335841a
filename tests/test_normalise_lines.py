"""Chains on maps of one dimension become chains on maps of height 1; what is no such map stays."""

from __future__ import annotations

from collections import Counter
from typing import Any

import onnx
import onnx_graphsurgeon as gs
import pytest
from models import Net
from normalised import same_function

import rrm_onnx.normalise
from rrm_onnx import pipeline
from rrm_onnx.load import load
from rrm_onnx.normalise.lines import same


def line(n: Net, x: str, m: int, c: int, k: int = 3, **attrs: Any) -> str:
    w, b = n.const(n.rng.normal(0, (c * k) ** -0.5, (m, c, k))), n.const(n.rng.normal(0, 0.1, m))
    return n.add("Conv", x, w, b, **attrs)


def pairs(found: Counter[str]) -> tuple[int, int]:
    return found["Unsqueeze"], found["Squeeze"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime's simplification, which folds some of these operators into others."""
    monkeypatch.setattr(rrm_onnx.normalise, "fold", lambda model: model)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("op", ["Relu", "Tanh", "Softplus"])
def test_a_chain_is_lifted_as_a_whole(opset: int, op: str) -> None:
    net = Net(opset)
    x = line(net, net.input(shape=("n", 3, "l")), 8, 3, strides=[2], dilations=[2], pads=[1, 0])
    net.output(line(net, net.add(op, x), 4, 8, auto_pad="SAME_UPPER", out="y"))
    assert same_function(net.model()) == {"Unsqueeze": 1, "Conv": 2, op: 1, "Squeeze": 1}


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pools(op: str) -> None:
    net = Net()
    x = net.add(
        op, line(net, net.input(shape=(1, 3, 17)), 8, 3), kernel_shape=[3], strides=[2], pads=[1, 0], ceil_mode=1
    )
    net.output(net.add("GlobalAveragePool", x, out="y"))
    assert pairs(same_function(net.model())) == (1, 1)


@pytest.mark.parametrize("more", [{"output_padding": [1]}, {"pads": [1, 2]}, {"output_shape": [32]}])
def test_transposed_convolutions(more: dict[str, Any]) -> None:
    net = Net()
    w = net.const(net.rng.normal(0, 0.3, (4, 3, 3)))
    net.output(net.add("ConvTranspose", line(net, net.input(shape=(1, 3, 18)), 4, 3), w, strides=[2], out="y", **more))
    assert same_function(net.model()) == {"Unsqueeze": 1, "Conv": 1, "ConvTranspose": 1, "Squeeze": 1}


@pytest.mark.parametrize("shape", [(), (1,), (8, 1), (1, 8, 1), (14,)])
def test_constants_meet_the_same_elements(shape: tuple[int, ...]) -> None:
    net = Net()
    x = net.add("Relu", line(net, net.input(shape=(1, 3, 16)), 8, 3))
    net.output(net.add("Mul", net.const(net.rng.normal(0, 1, shape)), x, out="y"))
    assert pairs(same_function(net.model())) == (1, 1)


@pytest.mark.parametrize("opset", [10, 13])
def test_pads_parts_and_shortcuts(opset: int) -> None:
    net = Net(opset)
    x = line(net, net.input(shape=(2, 3, 16)), 8, 3)
    pads = [0, 0, 2, 0, 1, 0]
    if opset < 11:
        x = net.add("Pad", x, pads=pads, value=0.5)
        net.add("Split", x, outputs=["left", "right"], axis=1, split=[4, 5])
    else:
        x = net.add("Pad", x, net.const(pads, int), net.const(0.5))
        net.add("Split", x, net.const([4, 5], int), outputs=["left", "right"], axis=-2)
    x = net.add("Add", x, net.add("Concat", "right", "left", axis=1))
    net.output(net.output(net.add("Relu", x, out="y")) and line(net, "y", 4, 9, out="z"))
    assert pairs(same_function(net.model())) == (1, 2)  # y is an output of the graph as well


def test_the_graphs_own_pair_is_gone() -> None:
    """A network on maps whose height was taken away for some layers."""
    net = Net()
    x = net.add("Squeeze", net.conv(net.input(shape=(1, 3, 1, 16)), 8), net.const([2], int))
    x = net.add("Unsqueeze", net.add("Relu", line(net, x, 8, 8)), net.const([2], int))
    net.output(net.conv(x, 4, 8, out="y"))
    assert same_function(net.model()) == {"Conv": 3, "Relu": 1}


def test_a_squeeze_of_another_axis_stays() -> None:
    net = Net()
    x = net.add("Squeeze", net.conv(net.input(shape=(1, 3, 16, 1)), 8), net.const([3], int))
    x = net.add("Unsqueeze", net.add("Relu", line(net, x, 8, 8)), net.const([3], int))
    net.output(net.conv(x, 4, 8, out="y"))
    assert pairs(same_function(net.model())) == (2, 2)


def rankless() -> Net:
    net = Net()
    x = net.add("Reshape", net.input(shape=(1, 3, 16)), net.input("to", ("r",), onnx.TensorProto.INT64))
    net.output(line(net, x, 8, 3, out="y"))
    return net


def computed() -> Net:
    net = Net()
    w = net.input("w", (8, 3, 3))
    net.output(net.add("Conv", net.input(shape=(1, 3, 16)), w, out="y"))
    return net


def without_convolution() -> Net:
    net = Net()
    net.output(net.add("Relu", net.add("MaxPool", net.input(shape=(1, 3, 16)), kernel_shape=[2]), out="y"))
    return net


def indices() -> Net:
    net = Net()
    net.add("MaxPool", net.input(shape=(1, 3, 16)), outputs=["y", "i"], kernel_shape=[2])
    net.output("i", kind=onnx.TensorProto.INT64)
    net.output(line(net, net.add("Softmax", "y", axis=2), 4, 3, out="z"))
    return net


def joined_in_time() -> Net:
    net = Net()
    x = line(net, net.input(shape=(1, 3, 16)), 8, 3)
    net.output(net.add("Concat", x, x, axis=2, out="y"))
    return net


def normed_place_by_place() -> Net:
    """As opset 8 may: mean and variance for each place."""
    net = Net(8)
    x = line(net, net.input(shape=(1, 3, 18)), 8, 3)
    x = net.add("BatchNormalization", x, *(net.const(net.rng.uniform(0.5, 1, (8, 16))) for _ in range(4)), spatial=0)
    net.output(line(net, x, 4, 8, out="y"))
    return net


@pytest.mark.parametrize(
    ("build", "lifted"),
    [(normed_place_by_place, 2), (joined_in_time, 1), (computed, 0), (without_convolution, 0), (indices, 1)],
)
def test_left_alone(build: Any, lifted: int) -> None:
    assert pairs(same_function(build().model())) == (lifted, lifted)


def test_unknown_ranks_stay() -> None:
    graph = rrm_onnx.normalise.normalise(load(rankless().model())).graph
    assert [n.op for n in graph.nodes] == ["Reshape", "Conv"]


def test_open_sizes_are_not_known_to_be_the_same() -> None:
    """A reshape between them may move elements from one axis to another."""
    tensor = gs.Variable("t", shape=["n", None, 1, None])
    assert not same(tensor, ["n", None, 1, None])
    for open_ in ("", -1, 0):
        tensor.shape = ["n", 8, 1, open_]
        assert not same(tensor, ["n", 8, 1, open_])
    tensor.shape = ["n", 8, 1, "l"]
    assert same(tensor, ["n", 8, 1, "l"]) and not same(tensor, ["n", 8, 1, "k"])


def test_two_chains_do_not_mix() -> None:
    """What stands between them works on the last axis, and reads lines."""
    net = Net()
    x = line(net, net.input(shape=(1, 3, 16)), 8, 3)
    net.output(line(net, net.add("Softmax", x, axis=-1), 4, 8, out="y"))
    assert same_function(net.model()) == {"Unsqueeze": 2, "Conv": 2, "Softmax": 1, "Squeeze": 2}


def test_a_long_line_is_a_region() -> None:
    net = Net()
    x = net.add("Relu", line(net, net.input(shape=(1, 16, 256)), 32, 16))
    net.output(line(net, x, 32, 32, out="y"))
    report = pipeline.examine(net.model())
    assert len(report.regions) == 1 and report.macs_inside == report.macs_total


def test_constant_channels_are_joined() -> None:
    """Positions beside what was computed: the constant becomes a map of height 1 too."""
    net = Net()
    x = line(net, net.input(shape=(1, 3, 14)), 8, 3, pads=[1, 1])
    x = net.add("Concat", x, net.const(net.rng.normal(0, 1, (1, 2, 14))), axis=1)
    net.output(line(net, x, 4, 10, pads=[1, 1], out="y"))
    found = same_function(net.model())
    assert pairs(found) == (1, 1) and found["Conv"] == 2
