"""Small whole models, each of which once came out wrong: converted, they compute what they did before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from models import Net, relative
from onnx import TensorProto, helper

import rrm_onnx
from rrm_onnx import runtime

ort = pytest.importorskip("onnxruntime")
Feed = dict[str, np.ndarray]
RNG = np.random.default_rng(3)


def picture(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype(np.float32)


def shared_weight() -> tuple[onnx.ModelProto, Feed]:
    """Two layers share a weight that is named as if it were the first one's own."""
    net = Net()
    weight = net.const(net.rng.normal(0, 0.1, (8, 8, 3, 3)), name="c1/weight")
    x = net.add("Conv", net.conv(net.input(), 8), weight, name="c1", pads=[1] * 4)
    x = net.add("Relu", net.add("Mul", x, net.const([[[3.0]]])))
    net.output(net.add("Conv", x, weight, name="c2", out="y", pads=[1] * 4))
    return net.model(), {"x": picture(1, 3, 16, 16)}


def foreign_bias() -> tuple[onnx.ModelProto, Feed]:
    """A layer without bias, and another's bias under the name that ours would get."""
    net = Net()
    x = net.conv(net.input(), 8)
    weights = [net.const(net.rng.normal(0, 0.1, (8, 8, 3, 3))) for _ in range(2)]
    bias = net.const(net.rng.normal(0, 1, 8), name="c1/bias")
    a = net.add("Conv", x, weights[0], name="c1", pads=[1] * 4)
    b = net.add("Conv", x, weights[1], bias, name="c2", pads=[1] * 4)
    net.output(net.add("Add", a, b, out="y"))
    return net.model(), {"x": picture(1, 3, 16, 16)}


def column_attention() -> tuple[onnx.ModelProto, Feed]:
    """A mean over the width alone, where height and width are not known before the run."""
    net = Net()
    a = net.conv(net.input(shape=(1, 3, "h", "w")), 32)
    gate = net.add("Sigmoid", net.add("ReduceMean", a, axes=[3], keepdims=1))
    net.output(net.conv(net.add("Mul", a, gate), 32, 32, out="y"))
    return net.model(), {"x": picture(1, 3, 12, 20)}


def batch_against_one() -> tuple[onnx.ModelProto, Feed]:
    net = Net()
    a = net.conv(net.input(shape=("n", 3, 16, 16)), 32)
    net.output(net.conv(net.add("Add", a, net.input("z", (1, 32, 16, 16))), 32, 32, out="y"))
    return net.model(), {"x": picture(2, 3, 16, 16), "z": picture(1, 32, 16, 16)}


def odd_downsampling() -> tuple[onnx.ModelProto, Feed]:
    net = Net(opset=10)
    a = net.add("Resize", net.conv(net.input(), 32), net.const([1, 1, 0.4, 0.4]), mode="nearest")
    net.output(net.conv(a, 32, 32, out="y"))
    return net.model(), {"x": picture(1, 3, 16, 16)}


def whole_number_maximum() -> tuple[onnx.ModelProto, Feed]:
    net = Net()
    best = net.add("ArgMax", net.conv(net.conv(net.input(), 8), 8, 8), axis=1, keepdims=1)
    net.output(net.add("ReduceMax", best, axes=[2, 3], keepdims=1, out="y"), kind=TensorProto.INT64)
    return net.model(), {"x": picture(1, 3, 16, 16)}


def branch_that_reads_a_map() -> tuple[onnx.ModelProto, Feed]:
    net = Net()
    a = net.conv(net.conv(net.input(), 8), 8, 8, out="a")
    bodies = {}
    for branch in ("then_branch", "else_branch"):
        turn = helper.make_node("Transpose", [a], [branch], name=branch, perm=[0, 2, 3, 1])
        out = helper.make_tensor_value_info(branch, TensorProto.FLOAT, None)
        bodies[branch] = helper.make_graph([turn], branch, [], [out])
    net.output(net.add("If", net.input("c", (), TensorProto.BOOL), out="y", **bodies))
    return net.model(), {"x": picture(1, 3, 16, 16), "c": np.array(True)}


def both_layouts() -> tuple[onnx.ModelProto, Feed]:
    net = Net()
    x = net.input(shape=(1, 8, 8, 8))
    turned = net.conv(net.add("Transpose", x, perm=[0, 3, 1, 2]), 8, 8)
    net.output(net.add("Add", turned, net.conv(x, 8, 8), out="y"))
    return net.model(), {"x": picture(1, 8, 8, 8)}


def rank_widened_by_a_constant() -> tuple[onnx.ModelProto, Feed]:
    net = Net()
    scaled = net.add("Mul", net.input(shape=(16, 16, 3)), net.const(net.rng.normal(0, 1, (1, 1, 1, 3))))
    x = net.conv(net.add("Transpose", scaled, perm=[0, 3, 1, 2]), 8)
    net.output(net.conv(x, 8, 8, out="y"))
    return net.model(), {"x": picture(16, 16, 3)}


def transposed_further_than_the_kernel_reaches() -> tuple[onnx.ModelProto, Feed]:
    """output_shape asks for a last row and column that no window reaches: the bias stands there."""
    net = Net()
    w, b = net.const(net.rng.normal(0, 0.1, (32, 32, 3, 3))), net.const(net.rng.normal(0, 1, 32))
    a = net.add("ConvTranspose", net.conv(net.input(), 32), w, b, strides=[2, 2], output_shape=[34, 34])
    net.output(net.conv(a, 32, 32, out="y"))
    return net.model(), {"x": picture(1, 3, 16, 16)}


BUILDERS: list[Callable[[], tuple[onnx.ModelProto, Feed]]] = [
    *(shared_weight, foreign_bias, column_attention, batch_against_one, odd_downsampling, whole_number_maximum),
    *(branch_that_reads_a_map, both_layouts, rank_widened_by_a_constant),
    transposed_further_than_the_kernel_reaches,
]


def quiet() -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return options


@pytest.mark.parametrize("build", BUILDERS, ids=lambda b: b.__name__)
def test_converted_model_computes_the_same(build: Callable[[], tuple[onnx.ModelProto, Feed]], library: str) -> None:
    model, feed = build()
    dense = ort.InferenceSession(model.SerializeToString(), quiet(), providers=["CPUExecutionProvider"])
    converted = rrm_onnx.convert(model)
    session = rrm_onnx.InferenceSession(converted.SerializeToString(), quiet(), providers=["CPUExecutionProvider"])
    for got, want in zip(session.run(None, feed), dense.run(None, feed), strict=True):
        assert got.shape == want.shape
        assert relative(got.astype(np.float64), want.astype(np.float64)) < 1e-5


def test_streams_of_a_picture_without_batch_axis(library: str) -> None:
    net = Net()
    x = net.add("Unsqueeze", net.input(shape=(3, 16, 16)), net.const([0], np.int64))
    net.output(net.conv(net.conv(x, 8), 4, 8, out="y"))
    model = rrm_onnx.convert(net.model(), streams=True)
    session = rrm_onnx.InferenceSession(model.SerializeToString(), quiet(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": picture(3, 16, 16)})[0].shape == (1, 4, 16, 16)


def test_a_window_that_falls_into_the_padding_when_the_picture_shrinks(library: str) -> None:
    """Kernel 1, stride 2, padding 1: 6x6 and 5x5 both give 4x4, and the last row reads padding only for 5x5 (A1)."""
    net = Net()
    x = net.conv(net.conv(net.input(shape=(1, 3, "h", "w")), 32), 32, 32)
    net.output(net.conv(x, 32, 32, 1, out="y", strides=[2, 2], pads=[1] * 4))
    model = net.model()
    converted = rrm_onnx.convert(model).SerializeToString()
    session = rrm_onnx.InferenceSession(converted, quiet(), providers=["CPUExecutionProvider"])
    session.run(None, {"x": picture(1, 3, 6, 6)})
    small = {"x": picture(1, 3, 5, 5)}
    fresh = rrm_onnx.InferenceSession(converted, quiet(), providers=["CPUExecutionProvider"])
    assert session.run(None, small)[0].tobytes() == fresh.run(None, small)[0].tobytes()


@pytest.mark.parametrize("first", [0.0, np.inf, np.nan])
def test_a_first_frame_without_a_scale_does_not_freeze_the_gates(first: float, library: str) -> None:
    """Black or not finite: there is no RMS to measure thresholds with, so the next picture is asked (A5)."""
    net = Net()
    net.output(net.conv(net.conv(net.input(), 8), 4, 8, out="y"))
    model = net.model()
    session = rrm_onnx.InferenceSession(
        rrm_onnx.convert(model, tolerance=0.02).SerializeToString(), quiet(), providers=["CPUExecutionProvider"]
    )
    dense = ort.InferenceSession(model.SerializeToString(), quiet(), providers=["CPUExecutionProvider"])
    session.run(None, {"x": np.full((1, 3, 16, 16), first, np.float32)})
    for _ in range(3):
        feed = {"x": picture(1, 3, 16, 16)}
        assert relative(session.run(None, feed)[0], dense.run(None, feed)[0]) < 0.05


def test_a_gate_inside_a_node_is_measured_after_a_black_frame(library: str) -> None:
    """The rows between a depthwise and a 1x1 convolution are all zero on a black frame: the next picture is asked."""
    net = Net()
    w = net.const(net.rng.normal(0, 0.2, (16, 3, 3, 3)))
    x = net.add("Relu", net.add("Conv", net.input(shape=(1, 3, 32, 32)), w))
    w = net.const(net.rng.normal(0, 0.3, (16, 1, 3, 3)))
    x = net.add("Relu", net.add("Conv", x, w, group=16, name="deep"))
    x = net.add("Conv", x, net.const(net.rng.normal(0, 0.2, (256, 16, 1, 1))), name="point")
    net.output(net.add("Conv", x, net.const(net.rng.normal(0, 0.1, (4, 256, 3, 3))), name="last"))
    nodes = {"deep": {"threshold": 0.5}, "point": {"threshold": 0.5}}
    file = {"format": "rrm-thresholds", "version": 1, "model": None, "tolerance": 0, "nodes": nodes}
    converted = rrm_onnx.convert(net.model(), thresholds=file)
    first = picture(1, 3, 32, 32)
    noise = [first + np.float32(0.02) * picture(1, 3, 32, 32) for _ in range(4)]

    def share(frames: list[np.ndarray]) -> float:
        session = rrm_onnx.InferenceSession(converted.SerializeToString(), quiet(), ["CPUExecutionProvider"])
        for frame in frames:
            session.run(None, {"x": frame})
        session.reset_stats()
        for frame in noise:
            session.run(None, {"x": frame})
        (node,) = (n for n in session.stats()["nodes"] if n["op"] == "SeparableConv")
        return float(node["macs_done"] / node["macs_dense"])

    assert share([np.zeros_like(first), first]) <= share([first, first]) + 0.05 < 0.6


@pytest.mark.parametrize("broken", ["ca", "cb"])
def test_turns_of_two_pictures_after_a_run_that_broke_off(library: str, broken: str) -> None:
    """Two Enters that count their frames differently from then on: what changed behind one still passes in its turn."""
    net = Net()
    a, b = (net.conv(net.input(name, (1, 3, 16, 16)), 16, k=3) for name in ("a", "b"))
    net.output(net.conv(net.add("Add", a, b), 16, 16, k=3))
    model = net.model()
    nodes = {n.name: {"threshold": 1e9} for n in model.graph.node if n.op_type == "Conv"}
    nodes |= {"Enter_a": {"threshold": 1e9}, "Enter_b": {"threshold": 1e9}}
    held = {"format": "rrm-thresholds", "version": 1, "model": None, "drift": 0.0, "period": 3, "nodes": nodes}
    converted = rrm_onnx.convert(model, thresholds=held)
    still, exact = picture(1, 3, 16, 16), rrm_onnx.InferenceSession(rrm_onnx.convert(model).SerializeToString())
    session = rrm_onnx.InferenceSession(converted.SerializeToString())
    convs = [n.name for n in model.graph.node if n.op_type == "Conv"]
    errors = []
    for t in range(16):
        feed = {"a": still, "b": picture(1, 3, 16, 16)}
        if t == 4:
            runtime.query(f"fail {session._rrm_group} {convs['ca cb'.split().index(broken)]} 1")
            with pytest.raises(Exception, match="test hook"):
                session.run(None, feed)
        errors.append(relative(session.run(None, feed)[0], exact.run(None, feed)[0]))
    assert min(errors[10:13]) < 1e-5 and min(errors[13:16]) < 1e-5


def test_where_nearly_everything_moves_rows_are_written_without_a_comparison(library: str) -> None:
    """Exact layers whose maps all but stand on one line: all rows are computed then, and the answer is that of a fresh
    session in every bit, also when most of the picture stands still again."""
    net = Net()
    net.output(net.conv(net.conv(net.input(shape=(1, 3, 64, 64)), 16, k=3), 4, 16, k=3, out="y"))
    converted = rrm_onnx.convert(net.model()).SerializeToString()
    session, fresh = (rrm_onnx.InferenceSession(converted, quiet(), ["CPUExecutionProvider"]) for _ in "ab")
    picture_ = picture(1, 3, 64, 64)
    active = []
    for t in range(8):
        moving = 62 if t < 6 else 3
        picture_ = picture_.copy()
        picture_[:, :, :moving] = picture(1, 3, moving, 64)
        session.reset_stats()
        got = session.run(None, {"x": picture_})[0]
        active.append([n["active"] / max(n["sites"], 1) for n in session.stats()["nodes"] if n["op"] == "Conv"])
        fresh.reset()
        assert got.tobytes() == fresh.run(None, {"x": picture_})[0].tobytes()
    assert active[1][0] == 63 / 64 and active[2] == active[5] == [1, 1] and max(active[7]) < 0.1


def test_a_single_site_that_stands_still_does_not_count_as_moving(library: str) -> None:
    """A maximum over the map that stays, while something else moves: what it is multiplied with need not be made anew
    at every site, in no frame."""
    net = Net()
    x = net.conv(net.input(shape=(1, 3, 32, 32)), 16, k=3)
    g = net.add("GlobalMaxPool", x)
    g = net.add("Sigmoid", net.conv(net.add("Relu", net.conv(g, 8, 16, k=1)), 16, 8, k=1))
    net.output(net.conv(net.conv(net.add("Mul", x, g), 16, 16, k=3), 4, 16, k=3, out="y"))
    session = rrm_onnx.InferenceSession(
        rrm_onnx.convert(net.model()).SerializeToString(), quiet(), ["CPUExecutionProvider"]
    )
    frame = picture(1, 3, 32, 32)
    frame[:, :, 20:26, 20:26] *= 20  # the maxima, far from what moves
    for t in range(20):
        session.reset_stats()
        session.run(None, {"x": frame})
        found = {n["op"]: n for n in session.stats()["nodes"]}
        if t > 1:
            assert found["GlobalMaxPool"]["active"] == 1 and found["GlobalMaxPool"]["changed"] == 0
            assert found["Binary"]["active"] < found["Binary"]["sites"] / 10
        frame = frame.copy()
        frame[:, :, 10:12, 10:12] = np.float32(0.001) * picture(1, 3, 2, 2)
