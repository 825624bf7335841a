"""Operators over the last axis of a map turned to NHWC become operators over its channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models import Net
from normalised import between, same_function
from onnx import TensorProto

import rrm_onnx
import rrm_onnx.normalise
from rrm_onnx.pack import nodes_of

TO_NHWC, TO_NCHW, TO_NWHC = [0, 2, 3, 1], [0, 3, 1, 2], [0, 3, 2, 1]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("perms", [(TO_NHWC, TO_NCHW), (TO_NWHC, TO_NWHC)])
def test_softmax_between_transposes(op: str, opset: int, perms: tuple[list[int], list[int]]) -> None:
    def build(n: Net, x: str) -> str:
        return n.add("Transpose", n.add(op, n.add("Transpose", x, perm=perms[0]), axis=3), perm=perms[1])

    assert same_function(between(build, opset)) == {"Conv": 2, op: 1}


@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_before_the_end(opset: int) -> None:
    """The Transpose goes to the output, where an Exit takes it in."""
    net = Net(opset)
    t = net.add("Transpose", net.conv(net.input(), 8), perm=TO_NHWC)
    net.output(net.add("Softmax", t, axis=3, out="y"))
    model = net.model()
    assert same_function(model) == {"Conv": 1, "Softmax": 1, "Transpose": 1}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime's simplification, which moves Transposes itself."""
    monkeypatch.setattr(rrm_onnx.normalise, "fold", lambda model: model)


@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (11, 2), (13, 1), (13, 2)])
def test_softmax_over_other_axes_stays(alone: None, opset: int, axis: int) -> None:
    def build(n: Net, x: str) -> str:
        t = n.add("Softmax", n.add("Transpose", x, perm=TO_NHWC), axis=axis)
        return n.add("Transpose", t, perm=TO_NCHW)

    assert same_function(between(build, opset))["Transpose"] == 2


def test_softmax_of_a_map_turned_for_good_stays(alone: None) -> None:
    """Nothing would be gained: where the Transpose is left, the Softmax before it may as well stay behind it."""
    net = Net()
    t = net.add("Transpose", net.conv(net.input(), 8), perm=TO_NWHC)
    net.output(net.add("Transpose", net.add("Softmax", t, axis=3), perm=TO_NHWC, out="y"))
    assert same_function(net.model())["Transpose"] == 2


# --- LayerNormalization


def reduced(n: Net, x: str, axis: int) -> str:
    if n.opset >= 18:
        return n.add("ReduceMean", x, n.const([axis], np.int64))
    return n.add("ReduceMean", x, axes=[axis])


def spelled(n: Net, x: str, axis: int, square: str = "Pow", inverse: bool = False, affine: bool = True) -> str:
    """As exporters write it, each difference from the mean by a node of its own."""
    mean = reduced(n, x, axis)
    d, again = n.add("Sub", x, mean), n.add("Sub", x, mean)
    squared = n.add("Pow", again, n.const(2.0)) if square == "Pow" else n.add("Mul", again, again)
    root = n.add("Sqrt", n.add("Add", reduced(n, squared, axis), n.const(1e-3)))
    y = n.add("Mul", n.add("Reciprocal", root), d) if inverse else n.add("Div", d, root)
    if not affine:
        return y
    shape = (8, 1, 1) if axis in (1, -3) else (8,)
    scale, bias = (n.const(n.rng.normal(1, 0.3, shape)) for _ in range(2))
    return n.add("Add", bias, n.add("Mul", y, scale))


def turned(n: Net, x: str, build: Callable[[Net, str], str]) -> str:
    return n.add("Transpose", build(n, n.add("Transpose", x, perm=TO_NHWC)), perm=TO_NCHW)


@pytest.mark.parametrize("opset", [11, 13, 17, 18])
@pytest.mark.parametrize("axis", [1, -3])
def test_layer_norm_over_channels(opset: int, axis: int) -> None:
    model = between(lambda n, x: spelled(n, x, axis), opset)
    assert same_function(model) == {"Conv": 2, "LayerNormalization": 1}


@pytest.mark.parametrize("how", [{"square": "Mul"}, {"inverse": True}, {"affine": False}])
def test_layer_norm_in_other_words(how: dict[str, Any]) -> None:
    model = between(lambda n, x: spelled(n, x, 1, **how))
    assert same_function(model) == {"Conv": 2, "LayerNormalization": 1}


@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("axis", [3, -1])
def test_layer_norm_of_a_turned_map(opset: int, axis: int) -> None:
    model = between(lambda n, x: turned(n, x, lambda n, t: spelled(n, t, axis)), opset)
    assert same_function(model) == {"Conv": 2, "LayerNormalization": 1}


@pytest.mark.parametrize("bias", [True, False])
def test_onnx_layer_norm_of_a_turned_map(bias: bool) -> None:
    def build(n: Net, t: str) -> str:
        return n.add("LayerNormalization", t, *(n.const(n.rng.normal(1, 0.3, 8)) for _ in range(1 + bias)), axis=-1)

    model = between(lambda n, x: turned(n, x, build), 17)
    assert same_function(model) == {"Conv": 2, "LayerNormalization": 1}


@pytest.mark.parametrize("opset", [13, 17])
def test_layer_norm_that_stays_turned_is_spelled_out_again(alone: None, opset: int) -> None:
    """Behind a Reshape nothing is known of a map: it stays dense, over the last axis."""
    net = Net(opset)
    t = net.add("Reshape", net.conv(net.input(), 8), net.const([1, 16, 16, 8], np.int64))
    net.output(net.add("Relu", spelled(net, t, 3), out="y"))
    assert same_function(net.model())["LayerNormalization"] == 1


def test_norms_that_differ_stay() -> None:
    """Over other axes for mean and variance; of another x; a deviation that is something else."""

    def axes(n: Net, x: str) -> str:
        d = n.add("Sub", x, reduced(n, x, 1))
        v = reduced(n, n.add("Mul", d, d), 3)
        return n.add("Div", d, n.add("Sqrt", n.add("Add", v, n.const(1e-3))))

    def other(n: Net, x: str) -> str:
        y = n.add("Relu", x)
        d, e = n.add("Sub", x, reduced(n, x, 1)), n.add("Sub", y, reduced(n, y, 1))
        return n.add("Div", d, n.add("Sqrt", n.add("Add", reduced(n, n.add("Mul", e, e), 1), n.const(1e-3))))

    def plain(n: Net, x: str) -> str:
        d = n.add("Sub", x, reduced(n, x, 1))
        return n.add("Div", d, n.add("Add", reduced(n, n.add("Mul", d, d), 1), n.const(1e-3)))

    for build in (axes, other, plain):
        assert same_function(between(build))["LayerNormalization"] == 0


def test_what_else_is_read_of_a_norm_stays_beside_it() -> None:
    net = Net(13)
    x = net.conv(net.input(), 8)
    d = net.add("Sub", x, reduced(net, x, 1), out="d")
    root = net.add("Sqrt", net.add("Add", reduced(net, net.add("Mul", d, d), 1), net.const(1e-3)))
    net.output(net.add("Relu", net.add("Div", d, root), out="y"))
    net.output(d)
    assert same_function(net.model()) == {"Conv": 1, "LayerNormalization": 1, "Relu": 1, "ReduceMean": 1, "Sub": 1}


# --- ArgMax


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
def test_arg_max_of_a_map(opset: int, keepdims: int, last: int) -> None:
    net = Net(opset)
    more = {"select_last_index": last} if opset >= 12 else {}
    x = net.add("Relu", net.conv(net.input(), 8))  # zeros are equal
    net.output(net.add("ArgMax", x, axis=1, keepdims=keepdims, out="y", **more), kind=TensorProto.INT64)
    ops = {"Conv": 1, "Relu": 1, "ArgMax": 1, "Cast": 1} | ({} if keepdims else {"Squeeze": 1})
    assert same_function(net.model()) == ops


@pytest.mark.parametrize("keepdims", [0, 1])
def test_arg_max_of_a_turned_map(keepdims: int) -> None:
    net = Net()
    t = net.add("Transpose", net.conv(net.input(), 8), perm=TO_NHWC)
    net.output(net.add("ArgMax", t, axis=-1, keepdims=keepdims, out="y"), kind=TensorProto.INT64)
    ops = same_function(net.model())
    assert ops == {"Conv": 1, "ArgMax": 1, "Cast": 1, "Transpose" if keepdims else "Squeeze": 1}


def test_arg_max_leaves_as_one_channel() -> None:
    net = Net()
    net.output(net.add("ArgMax", net.conv(net.input(), 8, k=7), axis=1, name="best", out="y"), kind=TensorProto.INT64)
    model = rrm_onnx.convert(net.model())
    assert [n.op_type for n in nodes_of(model)] == ["Enter", "Conv", "ArgMax", "Exit", "Cast"]
    dense = rrm_onnx.convert(net.model(), skip=["best"])
    assert [n.op_type for n in nodes_of(dense)] == ["Enter", "Conv", "Exit", "ArgMax"]


@pytest.mark.parametrize("axis", [0, 2, 3])
def test_arg_max_over_other_axes_stays(axis: int) -> None:
    net = Net()
    net.output(net.add("ArgMax", net.conv(net.input(), 8), axis=axis, out="y"), kind=TensorProto.INT64)
    assert same_function(net.model()) == {"Conv": 1, "ArgMax": 1}


# --- MatMul, and a whole block


def linear(n: Net, t: str, c: int, m: int) -> str:
    y = n.add("MatMul", t, n.const(n.rng.normal(0, c**-0.5, (c, m))))
    return n.add("Add", y, n.const(n.rng.normal(0, 0.1, m)))


def test_linear_of_a_turned_map_is_a_convolution() -> None:
    model = between(lambda n, x: turned(n, x, lambda n, t: linear(n, t, 8, 12)), channels=12)
    assert same_function(model) == {"Conv": 3}


@pytest.mark.parametrize("bias", [(), (12,), (1,), (1, 12)])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_of_a_turned_map_is_a_convolution(alone: None, bias: tuple[int, ...], transposed: int) -> None:
    def build(n: Net, t: str) -> str:
        rows = n.add("Reshape", t, n.const([256, 8], np.int64))
        more = [n.const(n.rng.normal(0, 1, bias))] if bias else []
        w = n.const(n.rng.normal(0, 0.3, (12, 8) if transposed else (8, 12)))
        y = n.add("Gemm", rows, w, *more, transB=transposed)
        return n.add("Reshape", y, n.const([1, 16, 16, 12], np.int64))

    assert same_function(between(lambda n, x: turned(n, x, build), channels=12)) == {"Conv": 3}


@pytest.mark.parametrize(("rows", "more"), [((128, 16), {}), ((256, 8), {"alpha": 0.5}), ((256, 8), {"beta": 2.0})])
def test_other_gemms_stay(alone: None, rows: tuple[int, int], more: dict[str, float]) -> None:
    def build(n: Net, t: str) -> str:
        w, bias = n.const(n.rng.normal(0, 0.3, (rows[1], rows[1]))), n.const(np.ones(rows[1]))
        y = n.add("Gemm", n.add("Reshape", t, n.const(rows, np.int64)), w, bias, **more)
        return n.add("Reshape", y, n.const([1, 16, 16, 8], np.int64))

    assert same_function(between(lambda n, x: turned(n, x, build)))["Gemm"] == 1


def test_a_gemm_bias_for_each_row_is_none_for_each_channel(alone: None) -> None:
    """As many sites as outputs: the shape alone tells them apart."""

    def build(n: Net, t: str) -> str:
        w, bias = n.const(n.rng.normal(0, 0.3, (8, 256))), n.const(n.rng.normal(0, 1, (256, 1)))
        y = n.add("Gemm", n.add("Reshape", t, n.const([256, 8], np.int64)), w, bias)
        return n.add("Reshape", y, n.const([1, 16, 16, 256], np.int64))

    assert same_function(between(lambda n, x: turned(n, x, build), channels=256))["Gemm"] == 1


def test_matmul_of_computed_matrices_stays(alone: None) -> None:
    def build(n: Net, t: str) -> str:
        return n.add("MatMul", t, n.add("Reshape", n.input("w", (64,)), n.const([8, 8], np.int64)))

    assert same_function(between(lambda n, x: turned(n, x, build)))["MatMul"] == 1


def test_constant_on_the_left_stays() -> None:
    def build(n: Net, t: str) -> str:
        return n.add("MatMul", n.const(n.rng.normal(0, 1, (16, 16))), t)

    assert same_function(between(lambda n, x: turned(n, x, build)))["MatMul"] == 1


def gelu(n: Net, t: str) -> str:
    erf = n.add("Add", n.add("Erf", n.add("Div", t, n.const(2**0.5))), n.const(1.0))
    return n.add("Mul", n.add("Mul", t, erf), n.const(0.5))


@pytest.mark.parametrize("opset", [13, 17])
def test_block_of_a_convnext(opset: int) -> None:
    def block(n: Net, x: str) -> str:
        def inside(n: Net, t: str) -> str:
            t = linear(n, gelu(n, linear(n, spelled(n, t, -1), 8, 32)), 32, 8)
            return n.add("Mul", t, n.const(n.rng.normal(0, 0.3, 8)))

        return n.add("Add", x, turned(n, n.conv(x, 8, 8, k=7, group=8), inside))

    ops = same_function(between(block, opset))
    assert ops == {"Conv": 5, "LayerNormalization": 1, "Gelu": 1, "Add": 1}
