"""Chains on maps of one dimension become chains on maps of height 1; what is no such map stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
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


INT = np.int64


def axes(n: Net, opset: int, *values: int) -> tuple[list[str], dict[str, Any]]:
    """Axes of a reduction: an input from opset 18 on."""
    return ([n.const(values, INT)], {}) if opset >= 18 else ([], {"axes": list(values)})


def mean(n: Net, x: str, op: str, axis: int, keepdims: int = 1) -> str:
    more, attrs = axes(n, n.opset, axis)
    return n.add(op, x, *more, keepdims=keepdims, **attrs)


def upsampled(n: Net, x: str) -> str:
    if n.opset < 9:
        return n.add("Upsample", x, scales=[1.0, 1.0, 2.0], mode="nearest")
    return n.add("Upsample" if n.opset == 9 else "Resize", x, n.const([1, 1, 2]), mode="nearest")


def part(n: Net, x: str, starts: list[int], ends: list[int], along: list[int] | None = None) -> str:
    if n.opset < 10:
        return n.add("Slice", x, starts=starts, ends=ends, **({"axes": along} if along else {}))
    return n.add("Slice", x, *(n.const(v, INT) for v in (starts, ends, along) if v))


STEPS: dict[str, tuple[int, Callable[[Net, str], str], str]] = {  # opset, the step, what it is on maps
    "slice": (13, lambda n, x: part(n, x, [1], [-2], [2]), "Slice"),
    "slice, negative axis": (13, lambda n, x: part(n, x, [2], [7], [-2]), "Slice"),
    "slice without axes": (13, lambda n, x: part(n, x, [0, 1, 2], [1, 7, 12]), "Slice"),
    "slice by attributes": (9, lambda n, x: part(n, x, [0, 1, 2], [1, 7, 12]), "Slice"),
    "slice with steps": (
        13,
        lambda n, x: n.add("Slice", x, *(n.const([v], INT) for v in (0, 14, 2, 2))),
        "Slice",
    ),
    "mean over the length": (13, lambda n, x: n.add("Mul", x, mean(n, x, "ReduceMean", 2)), "GlobalAveragePool"),
    "maximum, opset 18": (18, lambda n, x: n.add("Add", mean(n, x, "ReduceMax", -1), x), "GlobalMaxPool"),
    "mean over channels": (13, lambda n, x: n.add("Sub", x, mean(n, x, "ReduceMean", 1)), "ReduceMean"),
    "softmax": (13, lambda n, x: n.add("Softmax", x, axis=-2), "Softmax"),
    "upsample": (8, upsampled, "Upsample"),
    "upsample, opset 9": (9, upsampled, "Upsample"),
    "resize, opset 10": (10, upsampled, "Resize"),
    "resize by scales": (
        13,
        lambda n, x: n.add("Resize", x, "", n.const([1, 1, 1.5]), mode="linear"),
        "Resize",
    ),
    "resize by sizes": (13, lambda n, x: n.add("Resize", x, "", "", n.const([1, 8, 20], INT)), "Resize"),
    "resize by axes": (
        18,
        lambda n, x: n.add("Resize", x, "", n.const([2.0]), axes=[2], mode="linear"),
        "Resize",
    ),
    "shuffle": (13, lambda n, x: n.add("Gather", x, n.const([3, 0, 1, 2, 7, 6, 5, 4], INT), axis=1), "Gather"),
    "pad by axes": (
        18,
        lambda n, x: n.add("Pad", x, n.const([1, 2], INT), "", n.const([-1], INT), mode="reflect"),
        "Pad",
    ),
    "instance": (
        13,
        lambda n, x: n.add("InstanceNormalization", x, n.const(np.ones(8)), n.const(np.zeros(8))),
        "InstanceNormalization",
    ),
    "Selu": (13, lambda n, x: n.add("Selu", x), "Elu"),
    "global maximum": (13, lambda n, x: n.add("Add", n.add("GlobalMaxPool", x), x), "GlobalMaxPool"),
}


@pytest.mark.parametrize("step", STEPS)
def test_steps_of_a_chain(step: str) -> None:
    """The whole chain is lifted, the operator among it."""
    opset, build, op = STEPS[step]
    net = Net(opset)
    x = build(net, line(net, net.input(shape=(1, 3, 14)), 8, 3, pads=[1, 1]))
    net.output(net.add("Relu", x, out="y"))
    found = same_function(net.model())
    assert pairs(found) == (1, 1) and found[op] == 1


def test_a_mean_that_drops_the_length_leaves_as_a_vector() -> None:
    net = Net()
    x = line(net, net.input(shape=("n", 3, "l")), 8, 3)
    net.output(mean(net, x, "ReduceMean", -1, keepdims=0))
    found = same_function(net.model())
    assert found == {"Unsqueeze": 1, "Conv": 1, "GlobalAveragePool": 1, "Squeeze": 2}


OTHERS: dict[str, tuple[int, Callable[[Net, str], str]]] = {
    "softmax over the length": (13, lambda n, x: n.add("Softmax", x, axis=-1)),
    "softmax of old": (11, lambda n, x: n.add("Softmax", x, axis=1)),
    "mean over both": (13, lambda n, x: n.add("ReduceMean", x, axes=[1, 2])),
    "gather in time": (13, lambda n, x: n.add("Gather", x, n.const([0, 2], INT), axis=2)),
}


@pytest.mark.parametrize("step", OTHERS)
def test_steps_that_stay(step: str) -> None:
    opset, build = OTHERS[step]
    net = Net(opset)
    x = build(net, line(net, net.input(shape=(1, 3, 14)), 8, 3, pads=[1, 1]))
    net.output(net.add("Relu", x, out="y"))
    model = net.model()
    same_function(model)
    graph = rrm_onnx.normalise.normalise(load(model)).graph
    assert len(next(n for n in graph.nodes if n.op == model.graph.node[1].op_type).inputs[0].shape) == 3


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
