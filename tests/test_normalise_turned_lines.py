"""What works on the last axis of a line turned to [N, L, C] runs on maps turned to NHWC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from models import Net, dense_ops
from native import needs_library
from normalised import same_function
from test_normalise_lines import line
from videos import video

import rrm_onnx
import rrm_onnx.normalise
from rrm_onnx.load import load

C = 16
TURN = [0, 2, 1]


def vector(n: Net, *shape: int) -> str:
    return n.const(n.rng.uniform(0.5, 1.5, shape or (C,)))


def normal(n: Net, x: str) -> str:
    return n.add("LayerNormalization", x, vector(n), vector(n), axis=-1)


def spelled(n: Net, x: str) -> str:
    def mean(t: str) -> str:
        return n.add("ReduceMean", t, n.const([2], np.int64)) if n.opset >= 18 else n.add("ReduceMean", t, axes=[-1])

    d = n.add("Sub", x, mean(x))
    root = n.add("Sqrt", n.add("Add", mean(n.add("Mul", d, d)), n.const(1e-3)))
    return n.add("Add", n.add("Mul", n.add("Div", d, root), vector(n)), vector(n))


def linear(n: Net, x: str, c: int, m: int) -> str:
    return n.add("Add", n.add("MatMul", x, n.const(n.rng.normal(0, c**-0.5, (c, m)))), vector(n, m))


def mixer(n: Net, x: str) -> str:
    """The inner part of a ConvNeXt block."""
    y = n.add("Relu", linear(n, normal(n, x), C, 2 * C))
    return n.add("Mul", linear(n, y, 2 * C, C), vector(n))


FORMS: dict[str, tuple[int, Callable[[Net, str], str], dict[str, int]]] = {
    "LayerNormalization": (17, normal, {"LayerNormalization": 1}),
    "spelled out": (13, spelled, {"LayerNormalization": 1}),
    "spelled out, opset 18": (18, spelled, {"LayerNormalization": 1}),
    "linear layers": (17, mixer, {"Conv": 4}),
    "softmax": (11, lambda n, x: n.add("Softmax", x, axis=2), {"Softmax": 1}),
    "constants of rank 3": (17, lambda n, x: n.add("Mul", n.add("Tanh", x), vector(n, 1, 1, C)), {"Mul": 1}),
}


def network(build: Callable[[Net, str], str], opset: int = 17, length: Any = 40) -> onnx.ModelProto:
    net = Net(opset)
    x = line(net, net.input(shape=(1, 8, length)), C, 8, 7, pads=[3, 3])
    y = net.add("Transpose", build(net, net.add("Transpose", x, perm=TURN)), perm=TURN)
    net.output(line(net, net.add("Add", x, y), 8, C, 7, out="y"))
    return net.model()


@pytest.fixture(params=["folded", "alone"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With onnxruntime's simplification, which moves Transposes and joins some operators, and without it."""
    if request.param == "alone":
        monkeypatch.setattr(rrm_onnx.normalise, "fold", lambda model: model)


@pytest.mark.parametrize("form", FORMS)
def test_it_becomes_a_map(form: str, either: None) -> None:
    opset, build, wanted = FORMS[form]
    found = same_function(network(build, opset))
    assert {op: found[op] for op in wanted} == wanted
    assert (found["Unsqueeze"], found["Squeeze"], found["Transpose"]) == (1, 1, 0)


@needs_library
@pytest.mark.parametrize("form", ["LayerNormalization", "linear layers"])
@pytest.mark.parametrize("length", [40, "l"])
def test_it_stays_inside(form: str, length: Any) -> None:
    opset, build, _ = FORMS[form]
    model = network(build, opset, length)
    converted = rrm_onnx.convert(model)
    assert dense_ops(converted) == ["Unsqueeze", "Squeeze"]
    assert rrm_onnx.verify(model, converted, video(model, {"x": (1, 8, 40)})).ok


def test_other_readers_get_the_turned_line() -> None:
    net = Net()
    x = line(net, net.input(shape=(1, 8, 40)), C, 8)
    y = normal(net, net.add("Transpose", x, perm=TURN))
    net.output(net.add("ReduceSum", y, net.const([1], np.int64), out="z"))
    net.output(line(net, net.add("Transpose", net.add("Relu", y), perm=TURN), 8, C, out="y"))
    assert same_function(net.model())["LayerNormalization"] == 1


def turned(n: Net, x: str) -> str:
    return n.add("Transpose", x, perm=TURN)


def does_not_come_back(n: Net) -> str:
    return normal(n, turned(n, line(n, n.input(shape=(2, 8, 40)), C, 8)))


def begins_elsewhere(n: Net) -> str:
    return turned(n, line(n, turned(n, normal(n, n.input(shape=(2, 40, C)))), 8, C))


def between(n: Net, build: Callable[[Net, str], str]) -> str:
    x = line(n, n.input(shape=(2, 8, 40)), C, 8)
    return line(n, turned(n, build(n, turned(n, x))), 8, C)


def over_the_length(n: Net) -> str:
    return between(n, lambda n, x: n.add("Softmax", x, axis=1))


def for_each_row(n: Net) -> str:
    return between(n, lambda n, x: n.add("Mul", n.add("Tanh", x), vector(n, 2, 1, C)))


def attention(n: Net) -> str:
    return between(n, lambda n, x: n.add("MatMul", n.add("MatMul", x, turned(n, x)), x))


OTHERS = [does_not_come_back, begins_elsewhere, over_the_length, for_each_row, attention]


@pytest.mark.parametrize("build", OTHERS, ids=lambda b: b.__name__)
def test_others_stay(build: Callable[[Net], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rrm_onnx.normalise, "fold", lambda model: model)
    net = Net()
    net.output(build(net))
    model = net.model()
    same_function(model)
    graph = rrm_onnx.normalise.normalise(load(model)).graph
    special = ("LayerNormalization", "Softmax", "Mul", "MatMul")
    assert all(len(n.inputs[0].shape) == 3 for n in graph.nodes if n.op in special)
