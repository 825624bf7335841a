"""What is skipped stays as the model has it, though it would have become another operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from models import Net, dense_ops, rrm_nodes
from native import needs_library
from onnx import helper
from videos import video

import rrm_onnx
from rrm_onnx.bench.operators import convert
from rrm_onnx.errors import ConvertError
from rrm_onnx.pack import nodes_of

pytest.importorskip("onnxruntime")


def net(build: Callable[[Net, str], str]) -> onnx.ModelProto:
    """conv -> what is built -> conv."""
    n = Net()
    n.output(n.conv(build(n, n.add("Relu", n.conv(n.input(), 8, name="first"))), 4, 8, name="last", out="y"))
    return n.model()


def gemm() -> onnx.ModelProto:
    n = Net()
    flat = n.add("Flatten", n.conv(n.input(), 8, name="first"), name="flat")
    w = n.const(n.rng.normal(0, 0.02, (8 * 256, 10)))
    n.output(n.add("Gemm", flat, w, n.const(n.rng.normal(size=10)), name="it"))
    return n.model()


def mat_mul(n: Net, x: str) -> str:
    last = n.add("Transpose", x, perm=[0, 2, 3, 1])
    y = n.add("MatMul", last, n.const(n.rng.normal(0, 0.3, (8, 8))), name="it")
    return n.add("Transpose", y, perm=[0, 3, 1, 2])


def selu(n: Net, x: str) -> str:
    return n.add("Selu", x, name="it")


def sum_up(n: Net, x: str) -> str:
    return n.add("Sum", x, n.add("Neg", x), name="it")


def sigmoid(n: Net, x: str) -> str:
    return n.add("Mul", x, n.add("Sigmoid", x, name="it"))


def folded_norm(n: Net, x: str) -> str:
    x = n.conv(x, 8, 8)
    return n.add("BatchNormalization", x, *(n.const(n.rng.uniform(0.5, 1, 8)) for _ in range(4)), name="it")


def identity(n: Net, x: str) -> str:
    return n.add("Identity", x, name="it")


def mean(n: Net, x: str) -> str:
    return n.add("Mul", x, n.add("ReduceMean", x, axes=[2, 3], name="it"))


MODELS = {
    "Gemm": gemm,
    "MatMul": lambda: net(mat_mul),
    "Selu": lambda: net(selu),
    "Sum": lambda: net(sum_up),
    "Sigmoid": lambda: net(sigmoid),
    "BatchNormalization": lambda: net(folded_norm),
    "Identity": lambda: net(identity),
    "ReduceMean": lambda: net(mean),
}


@needs_library
@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("op", MODELS)
def test_it_stays_as_it_is(op: str, by_name: bool) -> None:
    model = MODELS[op]()
    assert op not in [n.op_type for n in nodes_of(convert(model))]
    converted = convert(model, skip=("it" if by_name else op,))
    (node,) = (n for n in model.graph.node if n.name == "it")
    (after,) = (n for n in nodes_of(converted) if n.name == "it")
    assert after.op_type == op and after.attribute == node.attribute and after.output == node.output
    found = rrm_onnx.verify(model, converted, video(model, {}), threads=1)
    assert found.exact and found.fresh_equal and found.ok, found.failures


def test_a_convolution_is_what_the_model_calls_one() -> None:
    """What becomes one converts all the same."""
    report = rrm_onnx.pipeline.examine(net(mat_mul), rrm_onnx.types.Options(skip=("Conv",)))
    assert [d.nodes for d in report.dense if d.code == "skipped"] == [("first", "last")]
    converted = convert(net(mat_mul), skip=("Conv",))
    assert [n.op_type for n in nodes_of(converted) if n.domain == ""] == ["Conv", "Conv"]
    assert [n.name for n in rrm_nodes(converted, "Conv")] == ["it"]


def test_operators_of_the_report_can_be_skipped_too() -> None:
    model = net(lambda n, x: n.add("Mul", x, n.add("Sigmoid", x)))
    converted = convert(model)
    assert "Mul" not in [n.op_type for n in nodes_of(converted)]
    report = rrm_onnx.pipeline.examine(model, rrm_onnx.types.Options(skip=("Silu",)))
    assert [(d.op_type, d.code) for d in report.dense if d.code == "skipped"] == [("Silu", "skipped")]


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_skipped_convolutions_count(op: str) -> None:
    """In the sum of all multiply-accumulates, of which they are not inside."""
    model = net(lambda n, x: n.add("ConvTranspose", x, n.const(n.rng.normal(0, 0.3, (8, 8, 1, 1))), strides=[2, 2]))
    macs = {"Conv": 9 * (256 * 8 * 3 + 31 * 31 * 4 * 8), "ConvTranspose": 256 * 64}
    report = rrm_onnx.pipeline.examine(model, rrm_onnx.types.Options(skip=(op,)))
    assert report.macs_total == sum(macs.values()) and report.macs_inside in (0, macs["Conv"], macs["ConvTranspose"])


@needs_library
@pytest.mark.parametrize(
    ("op", "domain", "unknown"), [("Sigmoid", "", False), ("Sigmoid", "", True), ("QuickGelu", "com.microsoft", False)]
)
def test_sizes_that_do_not_hold_any_more(op: str, domain: str, unknown: bool) -> None:
    """A model made for another size of picture: nothing is worked out from what it says of the skipped node. With an
    operator in it that onnxruntime does not know, only onnx can tell of ONNX's own."""

    def build(n: Net, x: str) -> str:
        y = n.add(op, x, out="old", name="it", domain=domain)
        sizes = n.add("Mul", n.add("Shape", y), n.const([1, 1, 2, 2], np.int64))
        return n.add("Resize", n.add("MaxPool", x, kernel_shape=[2, 2]), "", "", sizes, mode="nearest")

    model = net(build)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.value_info.append(helper.make_tensor_value_info("old", onnx.TensorProto.FLOAT, [1, 8, 5, 5]))
    if unknown:
        model.graph.node.append(helper.make_node("Foo", ["x"], ["z"], "foo", domain="my.domain"))
        model.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
        model.opset_import.append(helper.make_opsetid("my.domain", 1))
    converted = convert(model, skip=("it",))
    for foo in [n for m in (model, converted) for n in m.graph.node if n.domain == "my.domain"]:
        foo.domain, foo.op_type = "", "Identity"
    assert rrm_nodes(converted, "Resize")
    found = rrm_onnx.verify(model, converted, video(model, {}), threads=1)
    assert found.exact and found.fresh_equal and found.ok, found.failures


@pytest.mark.parametrize("skip", ["f", "F"])
def test_the_call_of_a_function_stays(skip: str) -> None:
    """As it is, with the function; others are written out."""
    model = net(lambda n, x: n.add("G", n.add("F", x, name="f", domain="local"), name="g", domain="local"))
    opset = helper.make_opsetid("", 17)
    for name in ("F", "G"):
        nodes = [helper.make_node("Relu", ["a"], ["b"])]
        model.functions.append(helper.make_function("local", name, ["a"], ["b"], nodes, [opset]))
    model.opset_import.append(helper.make_opsetid("local", 1))
    converted = convert(model, skip=(skip,))
    assert dense_ops(converted) == ["F"]
    assert len(rrm_nodes(converted, "Conv")) == 2
    found = rrm_onnx.verify(model, converted, video(model, {}), threads=1)
    assert found.exact and found.fresh_equal and found.ok, found.failures


def test_a_name_that_is_nowhere() -> None:
    with pytest.raises(ConvertError, match="'Gem'") as caught:
        rrm_onnx.convert(gemm(), skip=["Gem"])
    assert caught.value.hint == "did you mean 'Gemm'?"


def test_weights_of_a_skipped_node_are_the_models_own() -> None:
    model = gemm()
    converted = convert(model, skip=("it",))
    after = {t.name: t.SerializeToString() for t in converted.graph.initializer}
    assert all(after[t.name] == t.SerializeToString() for t in model.graph.initializer[-2:])
