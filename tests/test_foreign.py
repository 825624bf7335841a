"""Operators of other domains stay as they are, in every byte, and what lies around them converts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from models import Net, feeds, relative, rrm_nodes
from native import Native, Plain, needs_library
from onnx import TensorProto, helper, numpy_helper
from videos import video

import rrm_onnx
from rrm_onnx import pipeline
from rrm_onnx.errors import LoadError
from rrm_onnx.ops.foreign import bodies, put_back, reads

pytest.importorskip("onnxruntime")

MINE, MICROSOFT = "my.domain", "com.microsoft"


def heavy(net: Net, x: str, c: int = 16) -> str:
    return net.conv(x, 16, c, k=7)


def foreign(net: Net, *inputs: str, op: str = "Foo", domain: str = MINE, **attributes: Any) -> str:
    name = f"{op.lower()}{len(net.nodes)}"
    net.nodes.append(helper.make_node(op, inputs, [name], name, domain=domain, **attributes))
    return name


def finish(net: Net, domain: str = MINE) -> onnx.ModelProto:
    model = net.model()
    model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def parts(model: onnx.ModelProto, converted: onnx.ModelProto) -> int:
    """Convolutions inside regions, after checking that all foreign nodes are there, byte for byte."""
    found = {n.name: n.SerializeToString() for n in converted.graph.node if n.domain == MINE}
    assert found == {n.name: n.SerializeToString() for n in model.graph.node if n.domain == MINE}
    assert list(converted.graph.input) == list(model.graph.input)
    assert list(converted.graph.output) == list(model.graph.output)
    assert [(o.domain, o.version) for o in model.opset_import] == [
        (o.domain, o.version) for o in converted.opset_import if o.domain != "rrm"
    ]
    return len(rrm_nodes(converted, "Conv"))


# --- where they stand


def middle(net: Net, x: str) -> None:
    net.output(net.add("Relu", heavy(net, foreign(net, foreign(net, net.add("Relu", heavy(net, x, 3))))), out="y"))


def start(net: Net, x: str) -> None:
    net.output(heavy(net, net.add("Relu", heavy(net, foreign(net, x), 3)), 16))


def end(net: Net, x: str) -> None:
    net.output(foreign(net, net.add("Relu", heavy(net, heavy(net, x, 3)))))


def aside(net: Net, x: str) -> None:
    """Foreign outputs beside others, one of them read inside as well."""
    y = heavy(net, x, 3)
    f = net.output(foreign(net, y))
    net.output(y)
    net.output(foreign(net, x))
    net.output(net.add("Add", heavy(net, f), y, out="z"))


def by_a_constant(net: Net, x: str) -> None:
    """A result and a weight that only the foreign node reads, and weights that it shares."""
    y = net.add("Relu", heavy(net, x, 3))
    f = foreign(net, net.inits[0].name, y, net.const([1, 2, 3], np.int64), net.add("Identity", net.const([7.0])), "")
    net.output(heavy(net, f))


@pytest.mark.parametrize("build", [middle, start, end, aside, by_a_constant], ids=lambda b: b.__name__)
def test_both_sides_convert(build: Callable[[Net, str], None]) -> None:
    net = Net()
    build(net, net.input())
    model = finish(net)
    assert parts(model, rrm_onnx.convert(model)) == 2


def test_only_foreign_nodes() -> None:
    net = Net()
    net.output(foreign(net, foreign(net, net.input())))
    model = finish(net)
    with pytest.warns(UserWarning, match="no convolution"):
        converted = rrm_onnx.convert(model)
    assert converted.graph.node == model.graph.node


def test_a_foreign_convolution_is_none() -> None:
    """Whatever an operator is called: of another domain it may be anything."""
    net = Net()
    x = net.add("Relu", heavy(net, net.input(), 3))
    w = net.const(np.ones((16, 16, 1, 1)))
    for op, *more in (("Conv", w), ("Relu",), ("Sigmoid",), ("Mul", x), ("Transpose",), ("GlobalAveragePool",)):
        x = foreign(net, x, *more, op=op)
    net.output(heavy(net, x))
    model = finish(net)
    report = pipeline.examine(model)
    assert parts(model, rrm_onnx.convert(model)) == 2
    assert {d.op_type for d in report.dense} >= {f"{MINE}::{op}" for op in ("Conv", "Relu", "Mul", "Transpose")}


# --- weights


def weights() -> list[onnx.TensorProto]:
    """Tensors of types that NumPy does not have, one with its values in float_data, one with a text beside it."""
    rng = np.random.default_rng(0)
    found = [numpy_helper.from_array(rng.normal(size=(3, 5)).astype(ml_dtypes.bfloat16), "bf16")]
    found.append(numpy_helper.from_array(rng.integers(-8, 7, 6).astype(ml_dtypes.int4), "int4"))
    found.append(helper.make_tensor("data", TensorProto.FLOAT, [16], np.arange(16.0)))
    found.append(helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"\xff"]))
    found[0].doc_string = "a text"
    return found


def test_weights_of_any_type_survive(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that a convolution reads as well are written as the model has them too; nothing is printed about it."""
    net = Net()
    net.inits += weights()
    w = net.const(net.rng.normal(size=(16, 3, 7, 7)))
    x = net.add("Relu", net.add("Conv", net.input(), w, "data", pads=[3] * 4))
    x = foreign(net, x, *(t.name for t in net.inits[:4]))
    net.output(heavy(net, x))
    model = finish(net)
    model.ir_version = 10
    converted = rrm_onnx.convert(model)
    assert capsys.readouterr().out == ""
    after = {t.name: t.SerializeToString() for t in converted.graph.initializer}
    assert all(after[t.name] == t.SerializeToString() for t in weights())
    assert len(rrm_nodes(converted, "Conv")) == 2


# --- types


def test_nothing_is_guessed() -> None:
    """A Cast to float behind a result of unknown type stays, as does what depends on it; the rest is folded."""
    net = Net()
    x = net.add("Relu", net.add("Identity", heavy(net, net.input(), 3)))
    f = net.add("Identity", foreign(net, x))
    net.output(net.add("Cast", net.add("Neg", f), to=TensorProto.FLOAT))
    net.output(heavy(net, x))
    model = finish(net)
    converted = rrm_onnx.convert(model)
    assert parts(model, converted) == 2
    assert [n.op_type for n in converted.graph.node if n.domain == ""] == ["Identity", "Neg", "Cast"]


def test_a_type_without_a_rank_is_not_all() -> None:
    net = Net()
    f = foreign(net, net.add("Relu", heavy(net, net.input(), 3)))
    net.output(heavy(net, f))
    model = finish(net)
    model.graph.value_info.append(helper.make_tensor_value_info(f, TensorProto.FLOAT, None))
    assert parts(model, rrm_onnx.convert(model)) == 2


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_the_models_own_word_counts(dtype: int) -> None:
    """A Cast to float of what the model calls a float is nothing; of a half it is needed."""
    net = Net()
    f = foreign(net, net.add("Relu", heavy(net, net.input(), 3)))
    net.output(heavy(net, net.add("Cast", f, to=TensorProto.FLOAT)))
    model = finish(net)
    model.graph.value_info.append(helper.make_tensor_value_info(f, dtype, [1, 16, 16, 16]))
    converted = rrm_onnx.convert(model)
    assert parts(model, converted) == 2
    assert [n.op_type for n in converted.graph.node if n.domain == ""] == ["Cast"] * (dtype != TensorProto.FLOAT)


def test_sizes_are_followed_past_foreign_nodes() -> None:
    net = Net()
    f = foreign(net, net.add("Relu", heavy(net, net.input(), 3)))
    net.output(heavy(net, net.add("MaxPool", net.add("Relu", f), kernel_shape=[2, 2], strides=[2, 2])))
    model = finish(net)
    model.graph.value_info.append(helper.make_tensor_value_info(f, TensorProto.FLOAT, [1, 16, 16, 16]))
    assert [r.macs for r in pipeline.examine(model).regions] == [256 * 49 * 3 * 16, 64 * 49 * 16 * 16]


@pytest.mark.parametrize("between", [("Relu",), ("Sigmoid", "Identity")])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_tells_the_type(between: tuple[str, ...], transposed: bool) -> None:
    net = Net()
    x = foreign(net, net.add("Relu", heavy(net, net.input(), 3)))
    for op in between:
        x = net.add(op, x)
    if transposed:
        w = net.add("Constant", value=numpy_helper.from_array(net.rng.normal(size=(16, 8, 7, 7)).astype(np.float32)))
        net.output(net.add("ConvTranspose", x, w))
    else:
        net.output(net.conv(x, 16, 16, k=7, group=2))
    found = pipeline.examine(finish(net))
    assert [r.convolutions for r in found.regions] == [1, 1], found.dense


# --- graphs inside, functions


def body(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    outs = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, 16, 16, 16])]
    return helper.make_graph(list(nodes), "body", [], outs)


@pytest.mark.parametrize("domain", ["", MINE])
def test_graphs_inside_keep_what_they_read(domain: str) -> None:
    """An If of ONNX with a foreign node in it, or a foreign node with a graph: both read the outer graph."""
    net = Net()
    x = net.add("Relu", net.add("Identity", heavy(net, net.input(), 3)))
    only = net.const(np.full((16, 1, 1), 3.0), name="only")
    inner = body(helper.make_node("Foo", [x, only], ["inner"], "deep", domain=MINE))
    other = body(helper.make_node("Identity", [x], ["inner"], "plain"))
    condition = net.input("cond", (), TensorProto.BOOL)
    node = helper.make_node("If", [condition], ["chosen"], "choice", domain=domain)
    node.attribute.extend([helper.make_attribute("then_branch", inner), helper.make_attribute("else_branch", other)])
    net.nodes.append(node)
    net.output(heavy(net, "chosen"))
    model = finish(net)
    converted = rrm_onnx.convert(model)
    (after,) = (n for n in converted.graph.node if n.name == "choice")
    assert after.SerializeToString() == node.SerializeToString()
    assert x in {o for n in converted.graph.node for o in n.output}
    assert "only" in {t.name for t in converted.graph.initializer}
    assert len(rrm_nodes(converted, "Conv")) == 2


def test_names_that_change_change_inside_too() -> None:
    """What a step gives to the readers of a tensor reaches those in a graph, but for names of their own."""
    deeper = helper.make_node("Map", ["own"], ["inner"], "m", domain=MINE)
    deeper.attribute.append(helper.make_attribute("body", body(helper.make_node("Add", ["a", "own"], ["inner"]))))
    nodes = [helper.make_node("Exp", ["a"], ["own"]), deeper]
    original = helper.make_node("Map", ["a", ""], ["b"], "map", domain=MINE)
    original.attribute.append(helper.make_attribute("body", body(*nodes)))
    assert reads(original) == ["a", "", "a"]
    made = put_back(gs.Node("m", "map", {}, [gs.Variable(n) for n in ("new", "", "other")], []), original)
    (inner,) = bodies(made)
    assert list(made.input) == ["new", ""] and list(inner.node[0].input) == ["other"]
    assert list(bodies(inner.node[1])[0].node[0].input) == ["other", "own"] and list(inner.node[1].input) == ["own"]


def with_function(inner: str, domain: str) -> onnx.ModelProto:
    """y = conv(F(conv(x))) with F(a) = Relu(inner(a)) of the model's own domain."""
    net = Net()
    x = heavy(net, net.input(), 3)
    net.output(heavy(net, foreign(net, x, op="F", domain="local")))
    model = finish(net, "local")
    nodes = [helper.make_node(inner, ["a"], ["t"], domain=domain), helper.make_node("Relu", ["t"], ["b"])]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(domain or "local", 1)]
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], nodes, imports))
    return model


@pytest.mark.parametrize(("inner", "domain"), [("Sigmoid", ""), ("Foo", MINE), ("QuickGelu", MICROSOFT)])
def test_functions_of_the_model(inner: str, domain: str) -> None:
    model = with_function(inner, domain)
    converted = rrm_onnx.convert(model)
    assert len(rrm_nodes(converted, "Conv")) == 2
    others = [(n.domain, n.op_type) for n in converted.graph.node if n.domain != "rrm"]
    assert others == ([(domain, inner)] if domain else [])
    assert {domain} <= {o.domain for o in converted.opset_import}
    if domain != MINE:
        check(model, converted)


# --- those that onnxruntime knows


def check(model: onnx.ModelProto, converted: onnx.ModelProto, sizes: Any = None) -> None:
    found = rrm_onnx.verify(model, converted, video(model, sizes or {}), threads=1)
    assert found.exact and found.fresh_equal and found.ok, found.failures


def quick_gelu(net: Net, x: str) -> str:
    return foreign(net, x, op="QuickGelu", domain=MICROSOFT, alpha=1.3)


def gelu(net: Net, x: str) -> str:
    return foreign(net, x, op="Gelu", domain=MICROSOFT)


def bias_gelu(net: Net, x: str) -> str:
    return foreign(net, x, net.const(net.rng.normal(size=16)), op="BiasGelu", domain=MICROSOFT)


def fused_conv(net: Net, x: str) -> str:
    w = net.const(net.rng.normal(0, 0.1, (16, 16, 3, 3)))
    attributes = {"kernel_shape": [3, 3], "pads": [1] * 4, "activation": "Relu"}
    return foreign(net, x, w, op="FusedConv", domain=MICROSOFT, **attributes)


def fused_mat_mul(net: Net, x: str) -> str:
    return foreign(net, x, x, op="FusedMatMul", domain=MICROSOFT, transB=1, alpha=0.01)


def scaler(net: Net, x: str) -> str:
    flat = net.add("Reshape", x, net.const([1, -1], np.int64))
    turned = foreign(net, flat, op="Scaler", domain="ai.onnx.ml", offset=[0.5], scale=[2.0])
    return net.add("Reshape", turned, net.const([1, 16, 16, 16], np.int64))


@needs_library
@pytest.mark.parametrize("build", [quick_gelu, gelu, bias_gelu, fused_conv, fused_mat_mul, scaler])
def test_what_onnxruntime_knows_runs(build: Callable[[Net, str], str]) -> None:
    net = Net()
    x = net.add("Relu", heavy(net, net.input(), 3))
    y = build(net, x)
    net.output(net.add("Add", heavy(net, net.add("Relu", y)), x))
    model = finish(net, "ai.onnx.ml" if build is scaler else MICROSOFT)
    converted = rrm_onnx.convert(model)
    assert len(rrm_nodes(converted, "Conv")) + len(rrm_nodes(converted, "ConvAdd")) == 2
    check(model, converted)


@functools.cache
def mine() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    net = Net()
    middle(net, net.input())
    model = finish(net)
    return model, rrm_onnx.convert(model)


@needs_library
def test_an_unknown_operator_is_named_in_one_line() -> None:
    model, converted = mine()
    for first in (model, known(model)):
        with pytest.raises(LoadError, match=r"^onnxruntime does not know the operator my.domain::Foo") as caught:
            rrm_onnx.verify(first, converted, [feeds(model)])
        assert "library of that domain" in str(caught.value.hint) and "\n" not in caught.value.message


def known(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with an operator that onnxruntime can run in place of the foreign one."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        if node.domain == MINE:
            node.domain, node.op_type = "", "Identity"
    return plain


@needs_library
def test_a_library_that_knows_it_gets_the_same_function() -> None:
    model, converted = mine()
    x = feeds(model)["x"]
    (got,), (want,) = Native(known(converted)).run([x]), Plain(known(model)).run([x])
    assert relative(got, want) < 1e-5
