"""What is written: borders, names, gates, streams, metadata. Structure always, values where the library is built."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import onnx
import pytest
from models import Net, attrs, chain, dense_ops, feeds, relative, rrm_nodes
from onnx import TensorProto, helper

from rrm_onnx.common import source_hash
from rrm_onnx.errors import ThresholdsError
from rrm_onnx.pack import nodes_of
from rrm_onnx.pipeline import convert

ort = pytest.importorskip("onnxruntime")


def heavy(net: Net, x: str, m: int = 16, c: int = 3, **kwargs: Any) -> str:
    """A convolution that is worth any border."""
    return net.conv(x, m, c, k=7, **kwargs)


def edges(model: onnx.ModelProto) -> list[tuple[str, list[str], list[str]]]:
    return [(n.op_type, list(n.input), list(n.output)) for n in nodes_of(model)]


def equal_to_dense(library: str, model: onnx.ModelProto, converted: onnx.ModelProto, frames: int = 3) -> None:
    """Over some frames, one of them repeated, the converted model gives the dense outputs within rounding."""
    options = ort.SessionOptions()
    options.register_custom_ops_library(library)
    session = ort.InferenceSession(converted.SerializeToString(), options, providers=["CPUExecutionProvider"])
    plain = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for seed in (*range(frames), frames - 1):
        inputs = feeds(model, seed)
        for got, want in zip(session.run(None, inputs), plain.run(None, inputs), strict=True):
            assert got.shape == want.shape and relative(got, want) < 1e-5


def test_plain_chain() -> None:
    model = chain("Relu")
    converted = convert(model)
    w = [t.name for t in model.graph.initializer]
    assert edges(converted) == [
        ("Enter", ["x"], ["x/ticket"]),
        ("Conv", ["x/ticket", w[0], w[1]], ["t1/ticket"]),
        ("Conv", ["t1/ticket", w[2], w[3]], ["y/ticket"]),
        ("Exit", ["y/ticket"], ["y"]),
    ]
    nodes = nodes_of(converted)
    assert [n.name for n in nodes] == ["Enter_x", "conv_a", "conv_b", "Exit_y"]
    assert all(n.domain == "rrm" for n in nodes)
    assert attrs(nodes[0]) == {
        "channels_last": 0,
        "threshold": 0.0,
        "scale": 0.0,
        "drift": 1.0,
        "period": 1,
    }
    assert attrs(nodes[3]) == {"channels_last": 0}


def test_interface_and_header_are_kept() -> None:
    model = chain("Relu", shape=("N", 3, "H", "W"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, "H", "W"]))
    model.producer_name, model.doc_string, model.graph.doc_string = "maker", "model text", "graph text"
    model.graph.input[0].doc_string = "the picture"
    model.metadata_props.add(key="classes", value="a,b")
    model.opset_import.append(helper.make_opsetid("com.example", 3))
    converted = convert(model)
    assert converted.graph.input == model.graph.input and converted.graph.output == model.graph.output
    assert converted.graph.name == model.graph.name and converted.graph.doc_string == "graph text"
    assert (converted.producer_name, converted.doc_string) == ("maker", "model text")
    assert converted.ir_version == model.ir_version
    imports = {o.domain: o.version for o in converted.opset_import}
    assert imports == {"": 17, "com.example": 3, "rrm": 1}
    props = {p.key: p.value for p in converted.metadata_props}
    assert props["classes"] == "a,b" and props["rrm.version"] == "1" and props["rrm.tolerance"] == "0.0"
    assert props["rrm.source"] == source_hash(model)
    assert json.loads(props["rrm.report"])["regions"][0]["convolutions"] == 2


def annotate(thing: Any, text: str) -> Any:
    thing.doc_string = f"text of {text}"
    thing.metadata_props.add(key="from", value=text)
    return thing


def annotated(things: Any) -> set[str]:
    """Names of those that have their text and metadata."""
    props = {t.name: {p.key: p.value for p in t.metadata_props} for t in things if t.doc_string == f"text of {t.name}"}
    return {name for name, found in props.items() if found == {"from": name}}


def test_texts_and_metadata_are_kept(library: str) -> None:
    """Of everything that is still there: nodes of both kinds, edges, weights, bodies, the graph, functions."""
    net = Net()
    t = net.add("Hardmax", heavy(net, net.input(shape=("N", 3, "H", "W")), name="conv", out="a"), axis=1, out="s")
    net.input("flag", (), TensorProto.BOOL)
    made = helper.make_tensor_value_info("in_body", TensorProto.FLOAT, None)
    inner = annotate(helper.make_node("Round", [t], ["in_body"], name="inner"), "inner")
    body = annotate(helper.make_graph([inner], "body", [], [made]), "body")
    net.output(net.add("If", "flag", out="y", name="if", then_branch=body, else_branch=body))
    model = net.model(ir_version=10)
    twice = [helper.make_node("Add", ["p", "p"], ["q"])]
    model.functions.append(helper.make_function("com.example", "Twice", ["p"], ["q"], twice, model.opset_import))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    model.graph.value_info.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, ["N", 16, "H", "W"]))
    for thing in (*model.graph.node, *model.graph.initializer, *model.graph.value_info, model.graph):
        annotate(thing, thing.name)
    kind = model.graph.value_info[0].type
    kind.denotation, kind.tensor_type.shape.dim[1].denotation = "IMAGE", "DATA_CHANNEL"
    converted = convert(model)
    graph = converted.graph
    assert annotated(nodes_of(converted)) == {"conv", "Hardmax_1", "if"} and annotated(graph.initializer) == {
        "c0",
        "c1",
    }
    bodies = [a.g for n in graph.node if n.op_type == "If" for a in n.attribute]
    assert annotated(bodies) == {"body"} and annotated(n for b in bodies for n in b.node) == {"inner"}
    assert annotated([graph]) == {"net"} and list(converted.functions) == list(model.functions)
    (edge,) = (v for v in graph.value_info if v.name == "s")
    assert edge == model.graph.value_info[0]
    assert {o.domain: o.version for o in converted.opset_import} == {"": 17, "com.example": 1, "rrm": 1}
    equal_to_dense(library, model, converted)


def test_original_is_not_changed() -> None:
    model = chain("Relu", "Sigmoid")
    before = model.SerializeToString(deterministic=True)
    convert(model, tolerance=0.1, streams=True, input_shapes={"x": (1, 3, 16, 16)})
    assert model.SerializeToString(deterministic=True) == before


def test_weights_stay_initializers_of_their_name() -> None:
    model = chain("Relu")
    converted = convert(model)
    have = {t.name: onnx.numpy_helper.to_array(t) for t in converted.graph.initializer}
    for t in model.graph.initializer:
        assert np.array_equal(have[t.name], onnx.numpy_helper.to_array(t))
    assert len(have) == len(model.graph.initializer)


def test_tensor_that_enters_twice_has_one_enter() -> None:
    net = Net()
    x = net.input()
    net.output(net.add("Add", heavy(net, x), heavy(net, x), out="y"))
    converted = convert(net.model())
    assert len(rrm_nodes(converted, "Enter")) == 1


def test_output_that_is_read_inside(library: str) -> None:
    net = Net()
    a = net.output(heavy(net, net.input(), out="a"))
    net.output(heavy(net, a, 4, 16, out="b"))
    converted = convert(net.model())
    assert [n.output[0] for n in rrm_nodes(converted, "Exit")] == ["a", "b"]
    assert rrm_nodes(converted, "Conv")[1].input[0] == "a/ticket"
    equal_to_dense(library, net.model(), converted)


def test_dense_part_between(library: str) -> None:
    net = Net()
    t = net.add("Hardmax", heavy(net, net.input(), out="a"), axis=1, out="s")
    net.output(heavy(net, t, 4, 16, out="y"))
    converted = convert(net.model())
    assert [op for op, _, _ in edges(converted)] == ["Enter", "Conv", "Exit", "Hardmax", "Enter", "Conv", "Exit"]
    assert [n.name for n in rrm_nodes(converted, "Enter")] == ["Enter_x", "Enter_s"]
    equal_to_dense(library, net.model(), converted)


class TestLayout:
    """Transposes at the borders, and the Cast of a picture."""

    @staticmethod
    def nhwc(kind: int = TensorProto.FLOAT, preprocess: bool = False) -> Net:
        net = Net(13)
        t = net.input(shape=(1, 16, 16, 3), kind=kind)
        if kind == TensorProto.UINT8:
            t = net.add("Cast", t, to=TensorProto.FLOAT)
        if preprocess:
            t = net.add("Div", net.add("Sub", t, net.const([1.0, 2.0, 3.0])), net.const(127.5))
        t = heavy(net, net.add("Transpose", t, perm=[0, 3, 1, 2]))
        net.output(net.add("Transpose", net.add("Relu", t), perm=[0, 2, 3, 1], out="y"))
        return net

    def test_both_ends(self, library: str) -> None:
        model = self.nhwc().model()
        converted = convert(model)
        assert edges(converted)[0] == ("Enter", ["x"], ["x/ticket"])
        assert [op for op, _, _ in edges(converted)] == ["Enter", "Conv", "Exit"]
        first, _, last = nodes_of(converted)
        assert attrs(first)["channels_last"] == attrs(last)["channels_last"] == 1 and last.output[0] == "y"
        equal_to_dense(library, model, converted)

    @pytest.mark.parametrize("preprocess", [False, True])
    def test_bytes(self, library: str, preprocess: bool) -> None:
        model = self.nhwc(TensorProto.UINT8, preprocess).model()
        converted = convert(model)
        assert dense_ops(converted) == []
        enter = nodes_of(converted)[0]
        assert enter.input[0] == "x" and attrs(enter)["channels_last"] == 1
        equal_to_dense(library, model, converted)

    def test_bytes_in_nchw(self, library: str) -> None:
        net = Net(13)
        t = net.add("Cast", net.input(kind=TensorProto.UINT8), to=TensorProto.FLOAT)
        net.output(heavy(net, t, out="y"))
        converted = convert(net.model())
        assert [op for op, _, _ in edges(converted)] == ["Enter", "Conv", "Exit"]
        equal_to_dense(library, net.model(), converted)

    def test_other_casts_stay(self) -> None:
        net = Net(13)
        t = net.add("Cast", net.input(kind=TensorProto.INT32), to=TensorProto.FLOAT, out="f")
        net.output(heavy(net, t, out="y"))
        assert dense_ops(convert(net.model())) == ["Cast"]

    def test_transpose_with_other_readers_stays_for_them(self, library: str) -> None:
        net = Net(13)
        x = net.input(shape=(1, 16, 16, 3))
        t = net.add("Transpose", x, perm=[0, 3, 1, 2], out="t")
        net.output(heavy(net, t, out="y"))
        net.output(net.add("Hardmax", t, axis=1, out="z"))
        converted = convert(net.model())
        assert dense_ops(converted) == ["Transpose", "Hardmax"]
        assert rrm_nodes(converted, "Enter")[0].input[0] == "x"
        equal_to_dense(library, net.model(), converted)

    def test_both_layouts_leave(self, library: str) -> None:
        net = Net(13)
        a = net.output(heavy(net, net.input(), out="a"))
        net.output(net.add("Transpose", a, perm=[0, 2, 3, 1], out="b"))
        converted = convert(net.model())
        assert [(n.output[0], attrs(n)["channels_last"]) for n in rrm_nodes(converted, "Exit")] == [("b", 1), ("a", 0)]
        equal_to_dense(library, net.model(), converted)

    def test_other_permutations_stay(self) -> None:
        net = Net(13)
        net.output(net.add("Transpose", heavy(net, net.input()), perm=[0, 1, 3, 2], out="y"))
        assert dense_ops(convert(net.model())) == ["Transpose"]


def test_composite_that_stays_dense(library: str) -> None:
    """Silu, HardSwish and Gelu outside of a region are standard operators again."""
    net = Net(11)
    t = net.add("Hardmax", heavy(net, net.input()), axis=1)
    t = net.add("HardSigmoid", net.silu(t), alpha=0.1, beta=0.4)
    u = net.add("Mul", t, net.add("HardSigmoid", t, alpha=0.2, beta=0.4))
    erf = net.add("Erf", net.add("Div", u, net.const(np.sqrt(2.0))))
    g = net.add("Mul", net.add("Mul", u, net.add("Add", erf, net.const(1.0))), net.const(0.5))
    net.output(net.add("Hardmax", g, axis=1, out="y"))
    converted = convert(net.model())
    assert not {"Silu", "HardSwish", "Gelu"} & set(dense_ops(converted))
    assert dense_ops(converted).count("Erf") == 1
    assert len(rrm_nodes(converted)) == 3
    equal_to_dense(library, net.model(), converted)


def test_subgraph_reads_a_region(library: str) -> None:
    """A branch of an If that captures a tensor of the region makes it leave."""
    net = Net(13)
    a = heavy(net, net.input(), out="a")
    net.output(heavy(net, a, 4, 16, out="y"))
    net.input("flag", (), TensorProto.BOOL)
    branches = {}
    for name, op in (("then_branch", "Relu"), ("else_branch", "Neg")):
        made = helper.make_tensor_value_info(f"{name}/out", TensorProto.FLOAT, None)
        branches[name] = helper.make_graph([helper.make_node(op, ["a"], [f"{name}/out"], name=name)], name, [], [made])
    net.output(net.add("If", "flag", out="z", **branches))
    model = net.model()
    converted = convert(model)
    assert {n.output[0] for n in rrm_nodes(converted, "Exit")} == {"a", "y"}
    equal_to_dense(library, model, converted)


def test_shape_of_a_map(library: str) -> None:
    net = Net(13)
    a = heavy(net, net.input(shape=("N", 3, "H", "W")), out="a")
    net.output(heavy(net, a, 4, 16, out="y"))
    net.output(net.add("Cast", net.add("Shape", a), to=TensorProto.FLOAT, out="z"))
    converted = convert(net.model())
    assert len(rrm_nodes(converted, "MapShape")) == 1 and len(rrm_nodes(converted, "Exit")) == 1
    equal_to_dense(library, net.model(), converted)


def test_input_shapes_are_in_the_result() -> None:
    model = chain("Relu", shape=("N", 3, "H", "W"))
    converted = convert(model, input_shapes={"x": (1, 3, 24, 32)})
    assert [d.dim_value for d in converted.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 24, 32]


def test_old_ir_version_is_raised() -> None:
    model = chain("Relu", opset=9)
    model.ir_version = 3
    for t in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, t.dims))
    converted = convert(model)
    assert converted.ir_version == 4 and [i.name for i in converted.graph.input] == ["x"]


class TestStreams:
    @pytest.mark.parametrize(("batch", "want"), [(1, [0]), (3, [0, 1, 2]), ("N", [0])])
    def test_inputs(self, batch: int | str, want: list[int]) -> None:
        converted = convert(chain("Relu", shape=(batch, 3, 16, 16)), streams=True)
        assert [i.name for i in converted.graph.input] == ["x", "rrm_stream", "rrm_reset", "rrm_tolerance"]
        have = {t.name: onnx.numpy_helper.to_array(t) for t in converted.graph.initializer}
        assert have["rrm_stream"].tolist() == want and have["rrm_stream"].dtype == np.int64
        assert have["rrm_reset"].dtype == np.bool_ and have["rrm_reset"].shape == () and not have["rrm_reset"]
        assert have["rrm_tolerance"] == np.float32(1.0) and have["rrm_tolerance"].shape == ()
        enter = nodes_of(converted)[0]
        assert (enter.op_type, enter.name) == ("EnterStream", "Enter_x")
        assert list(enter.input) == ["x", "rrm_stream", "rrm_reset", "rrm_tolerance"]

    def test_inputs_may_be_left_out(self, library: str) -> None:
        model = chain("Relu")
        equal_to_dense(library, model, convert(model, streams=True))


class TestGates:
    model = chain("Relu")

    def gates(self, **kwargs: Any) -> dict[str, tuple[float, float]]:
        converted = convert(self.model, **kwargs)
        found = {n.name: attrs(n) for n in rrm_nodes(converted) if n.op_type in ("Enter", "EnterStream", "Conv")}
        return {k: (pytest.approx(v["threshold"]), pytest.approx(v["scale"])) for k, v in found.items()}

    def test_exact_unless_asked(self) -> None:
        assert self.gates() == {"Enter_x": (0, 0), "conv_a": (0, 0), "conv_b": (0, 0)}

    def test_tolerance(self) -> None:
        assert self.gates(tolerance=0.02) == {"Enter_x": (0.02, 0), "conv_a": (0.02, 0), "conv_b": (0.02, 0)}

    def thresholds(self, **kwargs: Any) -> dict[str, Any]:
        return {"format": "rrm-thresholds", "version": 1, "model": source_hash(self.model), "tolerance": 0.03} | kwargs

    def test_file(self, tmp_path: pathlib.Path) -> None:
        nodes = {"conv_a": {"threshold": 0.1, "scale": 2.5}, "Enter_x": {"threshold": 0.0}}
        path = tmp_path / "t.json"
        path.write_text(json.dumps(self.thresholds(nodes=nodes)))
        want = {"Enter_x": (0, 0), "conv_a": (0.1, 2.5), "conv_b": (0.03, 0)}
        assert self.gates(thresholds=path) == want
        assert self.gates(thresholds=self.thresholds(nodes=nodes)) == want
        assert self.gates(thresholds=path, tolerance=0.5) == want | {"conv_b": (0.5, 0)}

    def test_turns(self) -> None:
        """Drift and period stand at Enter, with streams too; without them all frames are alike."""
        given = self.thresholds(drift=0.25, period=4)
        for streams in (False, True):
            enter = nodes_of(convert(self.model, thresholds=given, streams=streams))[0]
            assert (attrs(enter)["drift"], attrs(enter)["period"]) == (0.25, 4)
        enter = nodes_of(convert(self.model, thresholds=self.thresholds()))[0]
        assert (attrs(enter)["drift"], attrs(enter)["period"]) == (1.0, 1)

    def test_any_model(self) -> None:
        assert self.gates(thresholds=self.thresholds(model=None))["conv_a"] == (0.03, 0)

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"model": "0" * 64}, "another model"),
            ({"format": "x"}, "not a thresholds file"),
            ({"version": 2}, "another version"),
            ({"tolerance": -0.1}, "tolerance is -0.1"),
            ({"tolerance": float("nan")}, "tolerance is nan"),
            ({"tolerance": "much"}, "is not a number"),
            ({"drift": 1.5, "period": 2}, "drift 1.5 and period 2 do not fit"),
            ({"drift": 0.5, "period": 0}, "drift 0.5 and period 0 do not fit"),
            ({"drift": 0.5, "period": 2.5}, "drift 0.5 and period 2.5 do not fit"),
            ({"nodes": [1]}, "is not an object"),
            ({"nodes": {"conv_a": {"scale": 1.0}}}, 'has no "threshold"'),
            ({"nodes": {"conv_a": {"threshold": float("inf")}}}, "threshold of 'conv_a' is inf"),
            ({"nodes": {"conv_a": {"threshold": 0.1, "scale": -1}}}, "scale of 'conv_a' is -1"),
            ({"nodes": {"conv_q": {"threshold": 0.1}}}, "no node is named 'conv_q'"),
        ],
    )
    def test_bad_thresholds(self, change: dict[str, Any], text: str) -> None:
        with pytest.raises(ThresholdsError) as caught:
            convert(self.model, thresholds=self.thresholds(**change))
        assert text in caught.value.message

    @pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
    def test_bad_tolerance(self, tolerance: float) -> None:
        with pytest.raises(ThresholdsError, match="tolerance is"):
            convert(self.model, tolerance=tolerance)

    def test_bad_files(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "t.json"
        with pytest.raises(ThresholdsError, match="cannot be read"):
            convert(self.model, thresholds=path)
        for text, part in (("{", "is not JSON"), ("[]", "not a JSON object")):
            path.write_text(text)
            with pytest.raises(ThresholdsError, match=part):
                convert(self.model, thresholds=path)
