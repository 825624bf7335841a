"""Scales, offsets and permutations of channels go into the weights of the convolutions beside them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from models import Net
from normalised import between, same_function
from onnx import TensorProto

from rrm_onnx.load import load
from rrm_onnx.normalise import normalise


def batch_norm(n: Net, x: str, channels: int = 8) -> str:
    params = [n.const(n.rng.uniform(0.5, 1.5, channels)) for _ in range(4)]
    return n.add("BatchNormalization", x, *params, epsilon=1e-3)


def test_batch_norm_behind_conv_is_folded() -> None:
    assert same_function(between(batch_norm)) == {"Conv": 2}


@pytest.mark.parametrize("pooled", [False, True])
def test_batch_norm_place_by_place_stays(pooled: bool) -> None:
    """As opset 8 may: mean and variance for each place."""

    def build(n: Net, x: str) -> str:
        x = n.add("MaxPool", x, kernel_shape=[1, 1]) if pooled else x
        values = (n.const(n.rng.uniform(0.5, 1, (8, 16, 16))) for _ in range(4))
        return n.add("BatchNormalization", x, *values, spatial=0)

    assert same_function(between(build, 8))["BatchNormalization"] == 1


@pytest.mark.parametrize("group", [1, 2])
def test_affine_behind_conv_transpose_is_folded(group: int) -> None:
    net = Net()
    w = net.const(net.rng.normal(0, 0.2, (4, 6 // group, 2, 2)))
    t = net.add("ConvTranspose", net.input(shape=(1, 4, 5, 7)), w, strides=[2, 2], group=group)
    t = net.add("Add", t, net.const(net.rng.normal(0, 1, (1, 6, 1, 1))))
    net.output(net.add("Relu", batch_norm(net, t, 6), out="y"))
    assert same_function(net.model()) == {"ConvTranspose": 1, "Relu": 1}


@pytest.mark.parametrize(
    ("op", "left"), [("Mul", True), ("Mul", False), ("Add", True), ("Sub", False), ("Sub", True), ("Div", False)]
)
@pytest.mark.parametrize("shape", [(), (1,), (8, 1, 1), (1, 8, 1, 1)])
def test_constant_behind_conv_is_folded(op: str, left: bool, shape: tuple[int, ...]) -> None:
    def build(n: Net, x: str) -> str:
        c = n.const(n.rng.uniform(0.5, 2.0, shape))
        return n.add("Relu", n.add(op, c, x) if left else n.add(op, x, c))

    assert same_function(between(build)) == {"Conv": 2, "Relu": 1}


def test_constant_along_width_is_kept() -> None:
    ops = same_function(between(lambda n, x: n.add("Mul", x, n.const(n.rng.uniform(0.5, 2.0, (16,))))))
    assert ops["Mul"] == 1


def test_conv_that_is_an_output_is_not_folded() -> None:
    net = Net()
    x = net.output(net.conv(net.input(), 8, out="raw"))
    net.output(net.add("Mul", x, net.const(2.0), out="y"))
    assert same_function(net.model()) == {"Conv": 1, "Mul": 1}


def test_batch_norm_behind_pool_is_spelled_out() -> None:
    ops = same_function(between(lambda n, x: batch_norm(n, n.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))))
    # The scale goes into the next convolution, which is padded, so that the offset has to stay.
    assert ops == {"Conv": 2, "MaxPool": 1, "Add": 1}


def test_affine_before_an_unpadded_conv_goes_into_it() -> None:
    net = Net()
    t = batch_norm(net, net.add("Relu", net.conv(net.input(), 8)))
    net.output(net.conv(t, 4, 8, k=3, pads=[0, 0, 0, 0], out="y"))
    assert same_function(net.model()) == {"Conv": 2, "Relu": 1}


@pytest.mark.parametrize("group", [2, 4])
def test_scale_before_a_grouped_conv_goes_into_it(group: int) -> None:
    net = Net()
    t = net.add("Mul", net.input(shape=(1, 8, 9, 9)), net.const(net.rng.uniform(0.5, 2, (8, 1, 1))))
    net.output(net.conv(t, 12, 8, group=group, out="y"))
    assert same_function(net.model()) == {"Conv": 1}


def test_permutation_before_a_conv_goes_into_it() -> None:
    net = Net()
    t = net.add("Gather", net.input(shape=(1, 8, 9, 9)), net.const([3, 1, 0, 2, 7, 6, 5, 4], np.int64), axis=1)
    net.output(net.conv(t, 4, 8, out="y"))
    assert same_function(net.model()) == {"Conv": 1}


def test_permutation_before_a_grouped_conv_stays() -> None:
    net = Net()
    t = net.add("Gather", net.input(shape=(1, 8, 9, 9)), net.const([3, 1, 0, 2, 7, 6, 5, 4], np.int64), axis=1)
    net.output(net.conv(t, 4, 8, group=2, out="y"))
    assert same_function(net.model()) == {"Gather": 1, "Conv": 1}


def test_weights_in_float16_become_float32() -> None:
    """onnxruntime casts each for its CPU kernels; the Casts of the picture and the answer stay."""
    net = Net()
    x = net.input(kind=TensorProto.FLOAT16)
    for c, m in ((3, 8), (8, 4)):
        w, b = net.const(net.rng.normal(0, 0.2, (m, c, 3, 3)), np.float16), net.const(np.ones(m), np.float16)
        x = net.add("Relu", net.add("Conv", x, w, b))
    net.output(x, kind=TensorProto.FLOAT16)
    graph = normalise(load(net.model())).graph
    assert Counter(n.op for n in graph.nodes) == {"Cast": 2, "Conv": 2, "Relu": 2}
    assert {t.dtype for n in graph.nodes if n.op == "Conv" for t in n.inputs} == {np.dtype(np.float32)}
