"""Linear layers on a whole map become convolutions, and what follows them runs on 1x1 maps; others stay."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from models import Net, dense_ops
from normalised import same_function

import rrm_onnx
import rrm_onnx.normalise
from rrm_onnx import pipeline
from rrm_onnx.normalise.shapes import infer

TO_NHWC = [0, 2, 3, 1]


def body(n: Net, batch: int | str | None = "n") -> str:
    return n.conv(n.input(shape=(batch, 3, 6, 4)), 8)


def layer(n: Net, x: str, k: int, m: int, op: str = "Gemm", out: str = "") -> str:
    w = n.rng.normal(0, k**-0.5, (k, m))
    if op == "MatMul":
        return n.add(op, x, n.const(w), out=out)
    return n.add("Gemm", x, n.const(w.T), n.const(n.rng.normal(0, 0.1, m)), transB=1, alpha=0.5, beta=2.0, out=out)


@pytest.fixture(params=[True, False], ids=["folded", "alone"])
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With onnxruntime's simplification, and without."""
    if not request.param:
        monkeypatch.setattr(rrm_onnx.normalise, "fold", lambda model: model)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
@pytest.mark.parametrize("opset", [11, 13])
def test_a_flattened_map(alone: None, op: str, opset: int) -> None:
    net = Net(opset)
    flat = net.add("Flatten", body(net), axis=1)
    net.output(layer(net, flat, 192, 10, op, out="y"))
    assert same_function(net.model()) == {"Conv": 2, "Flatten": 1}


def test_a_map_turned_to_nhwc(alone: None) -> None:
    """As TensorFlow flattens."""
    net = Net()
    flat = net.add("Reshape", net.add("Transpose", body(net), perm=TO_NHWC), net.const([-1, 192], int))
    net.output(layer(net, flat, 192, 10, out="y"))
    assert same_function(net.model()) == {"Conv": 2, "Flatten": 1}


def test_sums_and_activations_and_further_layers(alone: None) -> None:
    net = Net()
    x = layer(net, net.add("Flatten", body(net)), 192, 16, "MatMul")
    x = net.add("Relu", net.add("Add", net.const(net.rng.normal(0, 1, 16)), x))
    x = net.add("LeakyRelu", net.add("Mul", x, net.const(net.rng.normal(0, 1, (1, 16)))), alpha=0.3)
    x = net.add("Softmax", layer(net, x, 16, 5), axis=1)
    net.output(net.add("Sub", x, net.const(0.5), out="y"))
    found = same_function(net.model())
    assert found == {"Conv": 3, "Relu": 1, "LeakyRelu": 1, "Mul": 1, "Flatten": 1, "Softmax": 1, "Sub": 1}


def test_several_layers_on_one_map_and_outputs_on_the_way(alone: None) -> None:
    net = Net()
    flat = net.add("Flatten", body(net))
    hidden = net.add("Relu", layer(net, flat, 192, 8), out="h")
    net.output(hidden)
    net.output(layer(net, flat, 192, 4, out="y"))
    net.output(layer(net, hidden, 8, 4, out="z"))
    assert same_function(net.model()) == {"Conv": 3, "Relu": 1, "Flatten": 2, "Gemm": 1}


def test_a_vector_that_something_else_reads_is_given_back(alone: None) -> None:
    net = Net()
    x = layer(net, net.add("Flatten", body(net)), 192, 8)
    net.output(net.add("Add", layer(net, x, 8, 8), x, out="y"))
    assert same_function(net.model()) == {"Conv": 2, "Flatten": 1, "Gemm": 1, "Add": 1}


@pytest.mark.parametrize("shape", [(8, 1), (8, 8)])
def test_a_constant_for_each_picture_stays_on_vectors(alone: None, shape: tuple[int, int]) -> None:
    net = Net()
    x = net.add("Relu", layer(net, net.add("Flatten", body(net, 8)), 192, 8))
    net.output(net.add("Mul", x, net.const(net.rng.normal(0, 1, shape)), out="y"))
    assert same_function(net.model()) == {"Conv": 2, "Relu": 1, "Flatten": 1, "Mul": 1}


def test_a_vector_of_unknown_shape(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where inference leaves a gap: the weights tell how long the vector is."""

    def forgetful(model: onnx.ModelProto) -> onnx.ModelProto:
        found = infer(model)
        kept = [v for v in found.graph.value_info if v.name != "h"]
        del found.graph.value_info[:]
        found.graph.value_info.extend(kept)
        return found

    monkeypatch.setattr(rrm_onnx.normalise, "infer", forgetful)
    net = Net()
    w = net.const(net.rng.normal(0, 0.1, (192, 8)))
    x = net.add("Gemm", net.add("Flatten", body(net)), w, net.const(net.rng.normal(size=8)), out="h")
    net.output(net.add("Relu", net.add("Add", x, net.const(net.rng.normal(size=8))), out="y"))
    assert same_function(net.model()) == {"Conv": 2, "Relu": 1, "Flatten": 1}


# --- what stays


def larger() -> Net:
    """The vector has more elements than the map."""
    net = Net()
    net.output(layer(net, net.add("Flatten", body(net)), 192, 193, out="y"))
    return net


def two_larger() -> Net:
    """As has one for all readers together."""
    net = Net()
    flat = net.add("Flatten", body(net))
    net.output(layer(net, flat, 192, 100, out="y"))
    net.output(layer(net, flat, 192, 100, out="z"))
    return net


def read_elsewhere() -> Net:
    net = Net()
    flat = net.add("Flatten", body(net))
    net.output(layer(net, flat, 192, 5, out="y"))
    net.output(net.add("Softmax", flat, out="z"))
    return net


def given_out() -> Net:
    net = Net()
    flat = net.output(net.add("Flatten", body(net), out="f"))
    net.output(layer(net, flat, 192, 5, out="y"))
    return net


def without_convolution() -> Net:
    net = Net()
    flat = net.add("Flatten", net.add("Relu", net.input(shape=("n", 8, 6, 4))))
    net.output(layer(net, flat, 192, 5, out="y"))
    return net


def pooled() -> Net:
    net = Net()
    net.output(layer(net, net.add("Flatten", net.add("GlobalAveragePool", body(net))), 8, 5, out="y"))
    return net


def computed() -> Net:
    net = Net()
    net.output(net.add("MatMul", net.add("Flatten", body(net)), net.input("w", (192, 5)), out="y"))
    return net


def rows_of_two() -> Net:
    """Each picture's map makes two rows."""
    net = Net()
    net.output(layer(net, net.add("Reshape", body(net), net.const([-1, 96], int)), 96, 5, out="y"))
    return net


@pytest.mark.parametrize(
    "build",
    [larger, two_larger, read_elsewhere, given_out, without_convolution, pooled, computed, rows_of_two],
    ids=lambda b: b.__name__,
)
def test_left_alone(alone: None, build: Callable[[], Net]) -> None:
    found = same_function(build().model())
    assert found["Conv"] == (0 if build is without_convolution else 1)
    assert found["Gemm"] + found["MatMul"] >= 1


def test_a_size_left_open_stays() -> None:
    """The window would have to be as large as the map is."""
    net = Net()
    x = net.conv(net.input(shape=(1, 3, "h", "w")), 8)
    net.output(layer(net, net.add("Reshape", x, net.const([1, 2048], int)), 2048, 5, out="y"))
    assert same_function(net.model())["Gemm"] == 1


def test_the_vector_leaves_the_region() -> None:
    net = Net()
    x = net.conv(net.conv(net.input(shape=(1, 3, 24, 24)), 32), 32, 32)
    x = layer(net, net.add("Flatten", x), 32 * 576, 16)
    net.output(layer(net, net.add("Relu", x), 16, 5, out="y"))
    model = net.model()
    report = pipeline.examine(model)
    assert [len(r.exits) for r in report.regions] == [1] and report.macs_inside == report.macs_total
    assert dense_ops(rrm_onnx.convert(model)) == ["Flatten"]
