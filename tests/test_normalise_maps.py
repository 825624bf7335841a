"""Reductions, shuffles, vectors, transposes and rows: as operators on maps where they are, left alone where not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from models import Net, dense_ops, rrm_nodes
from normalised import between, same_function
from onnx import TensorProto, helper

import rrm_onnx.normalise
from rrm_onnx.load import load
from rrm_onnx.normalise import normalise
from rrm_onnx.normalise.reorder import reorder


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_reduction_over_sites_is_a_global_pool(opset: int) -> None:
    net = Net(opset)
    x = net.conv(net.input(), 8)
    means = (
        net.add("ReduceMean", x, net.const([2, 3], np.int64))
        if opset >= 18
        else net.add("ReduceMean", x, axes=[-1, -2])
    )
    net.output(net.add("Mul", x, means, out="y"))
    assert same_function(net.model())["GlobalAveragePool"] == 1


def test_a_reduction_of_other_numbers_over_a_line_stays() -> None:
    net = Net(18)
    x = net.conv(net.input(), 8)
    line = net.add("Reshape", net.add("Cast", x, to=TensorProto.DOUBLE), net.const([1, 8, 1, 256], np.int64))
    mean = net.add("Cast", net.add("ReduceMean", line, net.const([3], np.int64)), to=TensorProto.FLOAT)
    net.output(net.add("Mul", x, mean, out="y"))
    assert same_function(net.model())["ReduceMean"] == 1


def test_reduction_over_channels_stays() -> None:
    net = Net(13)
    x = net.conv(net.input(), 8)
    net.output(net.add("ReduceMean", x, axes=[1], out="y"))
    assert same_function(net.model())["ReduceMean"] == 1


def test_a_part_of_a_shape_is_cut_from_the_whole() -> None:
    """Only a whole Shape has an operator on resident tensors; the map would leave its region for a part."""
    net = Net(17)
    x = net.conv(net.input(shape=(1, 3, "h", "w")), 8)
    size = net.add("Shape", x, start=2)
    net.output(net.add("Add", x, net.add("ReduceSum", net.add("Cast", size, to=1)), out="y"))
    net.output(net.add("Shape", x, start=-3, end=-1, out="z"), kind=7)
    assert same_function(net.model()) == {"Conv": 1, "Shape": 2, "Slice": 2, "Cast": 1, "ReduceSum": 1, "Add": 1}


@pytest.mark.parametrize(("op", "pool"), [("ReduceMean", "GlobalAveragePool"), ("ReduceMax", "GlobalMaxPool")])
def test_reduction_that_drops_the_axes_is_a_pool_and_a_flatten(op: str, pool: str) -> None:
    """What leaves the region is a vector then, not the map."""
    net = Net()
    x = net.conv(net.input(shape=("n", 3, 16, 16)), 8)
    vector = net.add(op, x, axes=[2, 3], keepdims=0)
    net.output(net.add("Gemm", vector, net.const(net.rng.normal(0, 1, (8, 5))), out="y"))
    assert same_function(net.model()) == {"Conv": 1, pool: 1, "Flatten": 1, "Gemm": 1}


def shuffle_net(n: Net, x: str) -> str:
    t = n.add("Reshape", x, n.const([1, 2, 4, 16, 16], np.int64))
    t = n.add("Transpose", t, perm=[0, 2, 1, 3, 4])
    return n.add("Relu", n.add("Reshape", t, n.const([1, 8, 16, 16], np.int64)))


def test_channel_shuffle_is_a_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rrm_onnx.normalise, "STEPS", [s for s in rrm_onnx.normalise.STEPS if s is not reorder])
    assert same_function(between(shuffle_net)) == {"Conv": 2, "Relu": 1, "Gather": 1}


def test_channel_shuffle_between_convolutions_is_a_view_of_all_channels() -> None:
    assert same_function(between(shuffle_net)) == {"Conv": 2, "Relu": 1, "Concat": 1}


def test_reshape_that_mixes_sites_stays() -> None:
    def mix(n: Net, x: str) -> str:
        t = n.add("Reshape", x, n.const([1, 4, 2, 16, 16], np.int64))
        t = n.add("Transpose", t, perm=[0, 1, 4, 3, 2])
        return n.add("Reshape", t, n.const([1, 8, 16, 16], np.int64))

    assert same_function(between(mix))["Gather"] == 0


@pytest.mark.parametrize("two_steps", [True, False])
def test_focus_is_one_convolution(monkeypatch: pytest.MonkeyPatch, two_steps: bool) -> None:
    """With onnxruntime's own fusion, and without it, as in older versions."""

    def part(n: Net, x: str, oy: int, ox: int) -> str:
        def cut(t: str, starts: list[int], axes: list[int]) -> str:
            ends, steps = [2**31 - 1] * len(axes), [2] * len(axes)
            return n.add("Slice", t, *(n.const(v, np.int64) for v in (starts, ends, axes, steps)))

        return cut(cut(x, [oy], [2]), [ox], [3]) if two_steps else cut(x, [oy, ox], [2, 3])

    net = Net(11)
    x = net.input()
    parts = [part(net, x, oy, ox) for ox in (0, 1) for oy in (0, 1)]
    net.output(net.conv(net.add("Concat", *parts, axis=1), 4, 12, out="y"))
    want = {"Conv": 1}  # the order of the channels went into the weights
    assert same_function(net.model()) == want
    monkeypatch.setattr(rrm_onnx.normalise, "fold", lambda model: model)
    assert same_function(net.model()) == want


def excite(net: Net, x: str, m: int = 8) -> str:
    """GlobalAveragePool -> [1, 8] -> Gemm -> Relu -> Gemm -> spelled-out hard sigmoid -> [1, m, 1, 1]."""
    v = net.add("Flatten", net.add("GlobalAveragePool", x))
    v = net.add("Relu", net.add("Gemm", v, net.const(net.rng.normal(0, 1, (4, 8))), net.const(np.ones(4)), transB=1))
    v = net.add("Gemm", v, net.const(net.rng.normal(0, 1, (4, m))), net.const(np.ones((1, m))), alpha=0.5, beta=2.0)
    v = net.add("HardSigmoid", v)
    return net.add("Reshape", v, net.const([1, m, 1, 1], np.int64))


def test_fully_connected_gate_stays_a_map() -> None:
    ops = same_function(between(lambda n, x: n.add("Mul", x, excite(n, x))))
    assert ops == {"Conv": 4, "GlobalAveragePool": 1, "Relu": 1, "HardSigmoid": 1, "Mul": 1}


def test_vector_that_is_read_elsewhere_is_kept() -> None:
    net = Net(13)
    x = net.conv(net.input(), 8)
    net.output(net.add("Mul", x, excite(net, x), out="y"))
    net.output(net.add("Softmax", net.nodes[-3].output[0], axis=1, out="z"))  # of the HardSigmoid's vector
    ops = same_function(net.model())
    assert ops["Gemm"] == 2 and ops["Conv"] == 3


def test_classifier_stays_fully_connected() -> None:
    net = Net(13)
    v = net.add("Flatten", net.add("GlobalAveragePool", net.conv(net.input(), 8)))
    net.output(net.add("Gemm", v, net.const(net.rng.normal(0, 1, (8, 10))), out="y"))
    assert same_function(net.model())["Gemm"] == 1


@pytest.mark.parametrize("left", [True, False])
def test_sum_with_a_gated_map(left: bool) -> None:
    def build(n: Net, x: str) -> str:
        gated = n.add("Mul", n.add("Sigmoid", n.add("GlobalAveragePool", x)), x)
        return n.add("Add", gated, x) if left else n.add("Add", x, gated)

    ops = same_function(between(build))
    assert ops["Mul"] == 1 and ops["Add"] == 1
    normal = normalise(load(between(build)))
    (add,) = (n for n in normal.graph.nodes if n.op == "Add")
    assert list(add.outputs[0].shape) == [1, 8, 1, 1]  # on the gate, not on the map


def test_sum_with_another_map_stays() -> None:
    def build(n: Net, x: str) -> str:
        return n.add("Add", x, n.add("Mul", n.add("Relu", x), n.add("Sigmoid", n.add("GlobalAveragePool", x))))

    (add,) = (n for n in normalise(load(between(build))).graph.nodes if n.op == "Add")
    assert list(add.outputs[0].shape) == [1, 8, 16, 16]


def test_preprocessing_in_nhwc_moves_behind_the_transpose() -> None:
    net = Net(13)
    t = net.add("Cast", net.input(shape=(1, 16, 16, 3), kind=TensorProto.UINT8), to=TensorProto.FLOAT)
    t = net.add("Div", net.add("Sub", t, net.const([1.0, 2.0, 3.0])), net.const(net.rng.uniform(1, 2, (1, 1, 1, 3))))
    t = net.add("Transpose", t, perm=[0, 3, 1, 2])
    net.output(net.conv(t, 4, out="y"))
    normal = normalise(load(net.model()))
    assert normal.graph.nodes[0].op == "Transpose"
    same_function(net.model())


def test_activation_in_nhwc_moves_before_the_transpose() -> None:
    net = Net(13)
    t = net.add("Transpose", net.conv(net.input(), 4), perm=[0, 2, 3, 1])
    t = net.add("Add", net.add("Relu", t), net.const([1.0, 2.0, 3.0, 4.0]))
    net.output(net.add("Sigmoid", t, out="y"))
    normal = normalise(load(net.model()))
    assert normal.graph.nodes[-1].op == "Transpose"
    same_function(net.model())


def test_reshape_of_one_channel_is_a_transpose() -> None:
    net = Net(13)
    net.output(net.add("Reshape", net.conv(net.input(), 1), net.const([1, 16, 16, 1], np.int64), out="y"))
    assert same_function(net.model()) == {"Conv": 1, "Transpose": 1}


@pytest.mark.parametrize("heads", [1, 3])
def test_rows_of_detection_heads_are_not_turned_twice(heads: int) -> None:
    """Reshape to [N, C, sites], joined over sites, turned: the rows of the maps already lie that way."""
    net = Net()
    x = net.conv(net.input(), 8)
    flat = []
    for head in range(heads):
        y = net.conv(x, 5, 8, strides=[head + 1] * 2)
        flat.append(net.add("Reshape", y, net.const([1, 5, -1], np.int64)))
    joined = net.add("Concat", *flat, axis=2) if heads > 1 else flat[0]
    net.output(net.add("Transpose", joined, perm=[0, 2, 1], out="y"))
    model = net.model()
    ops = same_function(model)
    assert ops["Transpose"] == heads
    assert ops["Reshape"] == heads
    converted = rrm_onnx.convert(model)
    left = Counter(dense_ops(converted))
    assert left == Counter({"Reshape": heads} | ({"Concat": 1} if heads > 1 else {}))
    exits = rrm_nodes(converted, "Exit")
    assert len(exits) == heads and all(helper.get_node_attr_value(n, "channels_last") == 1 for n in exits)


def test_flattened_maps_that_others_read_too_stay_as_they_are() -> None:
    net = Net()
    y = net.conv(net.conv(net.input(), 8), 5, 8)
    flat = net.add("Reshape", y, net.const([1, 5, -1], np.int64), out="flat")
    net.output(net.add("Transpose", flat, perm=[0, 2, 1], out="y"))
    net.output("flat")
    assert same_function(net.model())["Transpose"] == 1


NHWC = [0, 2, 3, 1]
TURNED = {
    "pad": lambda n, x: n.add("Pad", x, n.const([0, 1, 2, 0, 0, 3, 4, 0], np.int64), n.const(0.5)),
    "pad by axes": lambda n, x: n.add("Pad", x, n.const([1, 2, 3, 4], np.int64), "", n.const([1, -2], np.int64)),
    "slice": lambda n, x: n.add("Slice", x, *(n.const(v, np.int64) for v in ([1, 2], [9, -3], [2, 1]))),
    "slice of channels": lambda n, x: n.add("Slice", x, *(n.const([v], np.int64) for v in (2, 6, -1))),
    "slice without axes": lambda n, x: n.add("Slice", x, *(n.const(v, np.int64) for v in ([0, 1, 2], [1, 9, 8]))),
}


@pytest.mark.parametrize("form", TURNED)
@pytest.mark.parametrize("down", [True, False])
def test_pads_and_slices_pass_transposes(form: str, down: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the NHWC side of the network to the other, whichever side of them it stands on."""
    monkeypatch.setattr(rrm_onnx.normalise, "fold", lambda model: model)
    net = Net(18)
    if down:
        t = TURNED[form](net, net.add("Transpose", net.conv(net.input(), 8), perm=NHWC))
        net.output(t)
    else:
        t = net.add("Transpose", TURNED[form](net, net.input(shape=(1, 16, 16, 8))), perm=[0, 3, 1, 2])
        w = net.const(net.rng.normal(0, 0.3, (4, 4 if form == "slice of channels" else 8, 3, 3)))
        net.output(net.add("Conv", t, w, pads=[1] * 4))
    model = net.model()
    assert same_function(model)["Transpose"] == 1
    ops = [n.op for n in normalise(load(model)).graph.nodes]
    assert ops == (["Conv", ops[1], "Transpose"] if down else ["Transpose", ops[1], "Conv"])


def test_computed_pads_stay() -> None:
    net = Net(18)
    pads = net.input("p", (8,), TensorProto.INT64)
    net.output(net.add("Pad", net.add("Transpose", net.conv(net.input(), 8), perm=NHWC), pads))
    assert [n.op for n in normalise(load(net.model())).graph.nodes] == ["Conv", "Transpose", "Pad"]
