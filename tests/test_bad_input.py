"""Broken and odd models: each is refused in one line with a hint, or converts to what the original computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from models import Net, rrm_nodes
from native import needs_library
from onnx import TensorProto, helper, numpy_helper
from videos import video

import rrm_onnx
from rrm_onnx import pipeline
from rrm_onnx.errors import RrmError
from rrm_onnx.pack import nodes_of

pytest.importorskip("onnxruntime")

Edit = Callable[[onnx.ModelProto], object]


def net(shape: tuple[int, ...] = (1, 3, 16, 16)) -> Net:
    """x -> a -> t0 -> r -> t1 -> b -> y"""
    n = Net()
    r = n.add("Relu", n.conv(n.input(shape=shape), 16, 3, k=7, name="a"), name="r")
    n.output(n.conv(r, 16, 16, k=7, name="b", out="y"))
    return n


def edited(edit: Edit) -> onnx.ModelProto:
    model = net().model()
    edit(model)
    return model


def value(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def reads(node: int, name: str) -> Edit:
    def edit(m: onnx.ModelProto) -> None:
        m.graph.node[node].input[0] = name

    return edit


def turned(m: onnx.ModelProto) -> None:
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in m.graph.node][::-1]
    del m.graph.node[:]
    m.graph.node.extend(nodes)


def cut_short(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].raw_data = m.graph.initializer[0].raw_data[:-4]


def without_outputs(m: onnx.ModelProto) -> None:
    del m.graph.output[:]


def sums_that_do_not_fit(m: onnx.ModelProto) -> None:
    m.graph.input.append(value("z", 1, 16, 7, 7))
    m.graph.node.append(helper.make_node("Add", ["y", "z"], ["s"]))
    m.graph.output.append(value("s", 1, 16, 16, 16))


REFUSED: dict[str, tuple[Edit, str]] = {
    "an edge of another type": (
        lambda m: m.graph.value_info.append(value("t0", 1, 16, 16, 16, kind=TensorProto.INT64)),
        "onnxruntime .* cannot load the model: .*Type",
    ),
    "shapes that do not fit": (sums_that_do_not_fit, "onnxruntime .* cannot load the model: .*[Ii]ncompatible"),
    "a cycle": (reads(0, "y"), "not a valid ONNX model: Nodes in a graph must be topologically sorted"),
    "a node that reads itself": (reads(1, "t1"), "not a valid ONNX model: Nodes in a graph must be topologically"),
    "an edge that nothing makes": (reads(1, "nothing"), "input 'nothing' of node"),
    "nodes out of order": (turned, "must be topologically sorted"),
    "two inputs of one name": (lambda m: m.graph.input.append(value("x", 1, 3, 8, 8)), "'x' has been used"),
    "two weights of one name": (lambda m: m.graph.initializer.append(weight("c0", 16, 3, 7, 7)), "c0 .*not unique"),
    "a weight that a node makes": (
        lambda m: m.graph.node.append(helper.make_node("Relu", ["y"], ["c1"])),
        "'c1' has been used",
    ),
    "an edge that two nodes make": (
        lambda m: m.graph.node.append(helper.make_node("Relu", ["x"], ["t1"])),
        "'t1' has been used",
    ),
    "an output that nothing makes": (lambda m: m.graph.output.append(value("no", 1)), "'no' is not an output"),
    "no output": (without_outputs, "the model has no output"),
    "a weight cut short": (cut_short, "not a valid ONNX model: .*too small"),
    "converted already": (lambda m: m.CopyFrom(rrm_onnx.convert(m)), "the model is already converted"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_one_line_with_a_hint(what: str) -> None:
    edit, text = REFUSED[what]
    model = edited(edit)
    with pytest.raises(RrmError, match=text) as caught:
        rrm_onnx.convert(model)
    assert "\n" not in caught.value.message and caught.value.hint


def test_a_model_that_was_left_as_it_is_is_converted_already() -> None:
    with pytest.warns(UserWarning, match="nothing was converted"):
        copied = rrm_onnx.convert(net().model(), skip=["Conv"])
    assert not rrm_nodes(copied)
    with pytest.raises(RrmError, match="already converted"):
        rrm_onnx.convert(copied)


def test_what_cannot_be_serialized(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: onnx.ModelProto) -> None:
        raise ValueError("Message onnx.ModelProto exceeds maximum protobuf size of 2GB: 3000000000")

    monkeypatch.setattr("rrm_onnx.load.check_content", full)
    with pytest.raises(RrmError, match=r"cannot be checked: .*2GB") as caught:
        rrm_onnx.convert(net().model())
    assert "2 GiB" in str(caught.value.hint)


# --- odd, but right


def one_name(m: onnx.ModelProto) -> None:
    for node in m.graph.node[1:]:
        node.name = "same"


CONVERTED: dict[str, Edit] = {
    "an edge of another size": lambda m: m.graph.value_info.append(value("t0", 1, 9, 16, 16)),
    "an edge of another rank": lambda m: m.graph.value_info.append(value("t0", 1, 16, 16)),
    "an output of another size": lambda m: m.graph.output[0].CopyFrom(value("y", 1, 5, 16, 16)),
    "an output twice": lambda m: m.graph.output.append(m.graph.output[0]),
    "a weight as output": lambda m: m.graph.output.append(value("c1", 16)),
    "an input as output": lambda m: m.graph.output.append(m.graph.input[0]),
}


@needs_library
@pytest.mark.parametrize("what", CONVERTED)
def test_converts_and_computes_the_same(what: str) -> None:
    model = edited(CONVERTED[what])
    converted = rrm_onnx.convert(model)
    assert len(rrm_nodes(converted, "Conv")) == 2
    assert list(converted.graph.output) == list(model.graph.output)
    check(model, converted)


def test_nodes_of_one_name() -> None:
    """onnxruntime itself does not take such a model, but the conversion tells them apart."""
    converted = rrm_onnx.convert(edited(one_name))
    names = [n.name for n in nodes_of(converted)]
    assert len(rrm_nodes(converted, "Conv")) == 2 and len(set(names)) == len(names)


def check(model: onnx.ModelProto, converted: onnx.ModelProto) -> None:
    found = rrm_onnx.verify(model, converted, video(model, {}), threads=1)
    assert found.exact and found.fresh_equal and found.ok, found.failures


# --- control flow


def choice(n: Net, x: str) -> str:
    """One of two layers, by what is in the picture."""
    bodies = []
    for op in ("Exp", "Neg"):
        node = helper.make_node(op, [x], [op], op)
        out = helper.make_tensor_value_info(op, TensorProto.FLOAT, [1, 16, 16, 16])
        bodies.append(helper.make_graph([node], op, [], [out]))
    bright = n.add("Greater", n.add("ReduceMax", "x", keepdims=0), n.const(2.5))
    return n.add("If", bright, name="flow", then_branch=bodies[0], else_branch=bodies[1])


def loop(n: Net, x: str) -> str:
    """Three times a layer on what is carried along, and on a map and weights of the graph around."""
    w = n.const(n.rng.normal(0, 0.05, (16, 16, 3, 3)))
    nodes = [
        helper.make_node("Add", ["held", x], ["sum"]),
        helper.make_node("Conv", ["sum", w], ["next"], pads=[1] * 4),
        helper.make_node("Identity", ["on"], ["still"]),
    ]
    ports = [value("i", kind=TensorProto.INT64), value("on", kind=TensorProto.BOOL), value("held", 1, 16, 16, 16)]
    body = helper.make_graph(
        nodes, "body", ports, [value("still", kind=TensorProto.BOOL), value("next", 1, 16, 16, 16)]
    )
    return n.add("Loop", n.const(3, np.int64), "", x, name="flow", body=body)


@needs_library
@pytest.mark.parametrize("build", [choice, loop])
def test_control_flow_stays_dense(build: Callable[[Net, str], str]) -> None:
    """What its graphs read from outside leaves the region. What is behind it converts if it has a rank: ONNX lets that
    of what a Loop carries along change."""
    n = Net()
    x = n.add("Relu", n.conv(n.input(), 16, 3, k=7))
    n.output(n.conv(build(n, x), 16, 16, k=7))
    model = n.model()
    converted = rrm_onnx.convert(model)
    assert len(rrm_nodes(converted, "Conv")) == (2 if build is choice else 1)
    assert "flow" in [node.name for node in converted.graph.node if node.domain == ""]
    dense = {d.op_type: d.reason for d in pipeline.examine(model).dense}
    assert "has no rrm operator" in dense["If" if build is choice else "Loop"]
    check(model, converted)
