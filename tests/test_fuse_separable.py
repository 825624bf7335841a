"""Which pairs of convolutions become one SeparableConv, and what it takes over from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from decisions import fused
from models import Net, rrm_nodes

import rrm_onnx
from rrm_onnx.thresholds import FORMAT


def pair(
    channels: int = 8,
    multiplier: int = 1,
    between: tuple[str, ...] = ("Relu",),
    kernel: int = 1,
    group: int = 1,
    strides: tuple[int, int] = (1, 1),
) -> Net:
    """A depthwise convolution `deep`, activations, and a convolution `point`."""
    net = Net()
    wide = channels * multiplier
    w = net.const(np.ones((wide, 1, 3, 3)))
    t = net.add("Conv", net.input(shape=(1, channels, 16, 16)), w, group=channels, pads=[1] * 4, name="deep")
    for op in between:
        t = net.add(op, t, name=op)
    w = net.const(np.ones((64, wide // group, kernel, kernel)))
    t = net.add("Conv", t, w, group=group, strides=strides, name="point")
    net.output(net.add("Sigmoid", t, name="last"))
    return net


def test_the_pair_becomes_one() -> None:
    found = fused(pair().model())
    assert list(found) == ["point"]
    match = found["point"]
    assert match.absorbed == ("deep", "Relu", "last")
    (node,) = match.emits
    assert (node.op, node.name, node.inner) == ("SeparableConv", "point", "deep")
    assert [c.values.shape for c in node.constants] == [(8, 1, 3, 3), (8,), (64, 8, 1, 1), (64,)]
    assert (node.attributes["inner_activation"], node.attributes["activation"]) == ("Relu", "Sigmoid")
    assert node.attributes["pads"] == (1, 1, 1, 1) and match.window.pads == (1, 1, 1, 1)
    assert match.macs == 16 * 16 * 8 * (9 + 64) and match.is_convolution


@pytest.mark.parametrize(
    "given",
    [
        {"multiplier": 2},  # two outputs for each channel
        {"kernel": 3},
        {"group": 2},
        {"strides": (2, 2)},
        {"channels": 1},  # one channel is a convolution like any other
        {"between": ("Relu", "Abs")},  # only one activation fits in between
    ],
    ids=str,
)
def test_other_pairs_stay_two(given: dict[str, Any]) -> None:
    found = fused(pair(**given).model())
    assert {"deep", "point"} <= set(found)
    assert not any(n.op == "SeparableConv" for m in found.values() for n in m.emits)


def test_not_where_somebody_else_reads_between() -> None:
    net = pair()
    net.output("t1")
    assert set(fused(net.model())) == {"deep", "point"}
    net = pair()
    net.output(net.add("Abs", "t1", name="reader"))
    assert set(fused(net.model())) == {"deep", "point", "reader"}


def test_a_skipped_half_stays_dense() -> None:
    assert set(fused(pair().model(), skip=("deep",))) == {"Relu", "point"}
    assert set(fused(pair().model(), skip=("point",))) == {"deep", "last"}


def separable(model: onnx.ModelProto) -> dict[str, Any]:
    (node,) = rrm_nodes(model, "SeparableConv")
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def test_each_gate_has_its_own_threshold() -> None:
    model = pair(channels=128).model()
    found = separable(rrm_onnx.convert(model, tolerance=0.5))
    assert (found["threshold"], found["inner_threshold"]) == (0.5, 0.5)
    nodes = {"deep": {"threshold": 0.25, "scale": 2.0}, "point": {"threshold": 0.125}}
    file = {"format": FORMAT, "version": 1, "model": None, "tolerance": 0, "nodes": nodes}
    found = separable(rrm_onnx.convert(model, thresholds=file))
    assert (found["inner_threshold"], found["inner_scale"]) == (0.25, 2.0)
    assert (found["threshold"], found["scale"]) == (0.125, 0.0)
