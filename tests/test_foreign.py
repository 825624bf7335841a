"""Operators of somebody else's domain: they stay, and what lies around them converts."""

from __future__ import annotations

import numpy as np
import onnx
from models import Net, dense_ops
from native import Native, Plain, needs_library
from onnx import TensorProto, helper

import rrm_onnx
from rrm_onnx.normalise.foreign import is_foreign

MINE = "my.domain"


def heavy(net: Net, x: str, c: int = 3) -> str:
    return net.conv(x, 16, c, k=7)


def foreign(net: Net, *inputs: str) -> str:
    """A node that passes its first input on, in a domain that nobody knows."""
    name = f"foo{len(net.nodes)}"
    net.nodes.append(helper.make_node("Foo", [inputs[0]], [name], name, domain=MINE))
    return name


def finish(net: Net, *known: str) -> onnx.ModelProto:
    """known: foreign results whose shape the model tells."""
    model = net.model()
    model.opset_import.append(helper.make_opsetid(MINE, 1))
    shape = [1, 16, 16, 16]
    model.graph.value_info.extend(helper.make_tensor_value_info(k, TensorProto.FLOAT, shape) for k in known)
    return model


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with operators that onnxruntime can run in place of the foreign ones."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        if node.domain == MINE:
            node.domain, node.op_type = "", "Identity"
    kept = [o for o in plain.opset_import if o.domain != MINE]
    del plain.opset_import[:]
    plain.opset_import.extend(kept)
    return plain


def between() -> onnx.ModelProto:
    """Two in a row between two convolutions, one that reads the picture, and results that are outputs."""
    net = Net()
    x = net.input()
    a = net.add("Relu", heavy(net, x))
    f = foreign(net, foreign(net, a))
    net.output(net.add("Sigmoid", heavy(net, f, 16)))
    net.output(foreign(net, x))
    net.output(a)
    return finish(net, f)


def test_both_sides_convert() -> None:
    model = between()
    converted = rrm_onnx.convert(model)
    assert dense_ops(converted) == ["Foo", "Foo", "Foo"]
    assert sum(n.op_type == "Conv" for n in converted.graph.node) == 2
    assert MINE in [o.domain for o in converted.opset_import]
    assert [o.name for o in converted.graph.output] == [o.name for o in model.graph.output]
    assert [i.name for i in converted.graph.input] == ["x"]


@needs_library
def test_the_function_is_the_same() -> None:
    model = between()
    plain, converted = Plain(named(model)), Native(named(rrm_onnx.convert(model)))
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, 3, 16, 16)).astype(np.float32)
    for _ in range(3):
        for got, want in zip(converted.run([x.copy()]), plain.run([x]), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
        x[0, :, 4, 5:9] = rng.normal(size=(3, 4))


def test_a_result_of_unknown_shape_stays_outside() -> None:
    net = Net()
    net.output(heavy(net, foreign(net, heavy(net, net.input())), 16))
    converted = rrm_onnx.convert(finish(net))
    assert sorted(dense_ops(converted)) == ["Conv", "Foo"]


def test_functions_of_the_model_and_known_domains_are_not_foreign() -> None:
    model = between()
    assert sum(is_foreign(n, model) for n in model.graph.node) == 3
    body = helper.make_function(MINE, "Foo", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], [])
    model.functions.append(body)
    assert not any(is_foreign(n, model) for n in model.graph.node)
    for domain in ("", "ai.onnx", "com.microsoft", "com.microsoft.nchwc"):
        assert not is_foreign(helper.make_node("Foo", [], [], domain=domain), model)
