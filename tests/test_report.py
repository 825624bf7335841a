"""What a conversion tells of itself: counts, regions, and what stays dense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from models import Net, chain

from rrm_onnx.pipeline import run
from rrm_onnx.types import Options

pytest.importorskip("onnxruntime")


def heavy(net: Net, x: str, m: int = 16, c: int = 3, **kwargs: Any) -> str:
    """A convolution that is worth any border."""
    return net.conv(x, m, c, k=7, **kwargs)


def test_report() -> None:
    net = Net()
    t = net.add("Hardmax", heavy(net, net.input(), name="a"), axis=1, name="soft")
    net.output(net.add("Relu", heavy(net, t, 4, 16, name="b"), name="relu"))
    result = run(net.model(), Options(tolerance=0.02, skip=("a",))).report
    assert (result.nodes_before, result.nodes_simplified, result.nodes_converted, result.nodes_dense) == (4, 4, 2, 2)
    assert result.macs_total == 256 * 49 * (16 * 3 + 4 * 16) and result.macs_inside == 256 * 49 * 4 * 16
    assert result.tolerance == 0.02
    assert [(d.op_type, d.code, d.count, d.nodes) for d in result.dense] == [
        ("Conv", "skipped", 1, ("a",)),
        ("Hardmax", "op-unsupported", 1, ("soft",)),
    ]
    assert result.to_dict() == json.loads(result.to_json()) | {
        "regions": result.to_dict()["regions"],
        "dense": result.to_dict()["dense"],
        "globals": (),
    }


def test_report_without_sizes() -> None:
    result = run(chain("Relu", shape=("N", 3, "H", "W"))).report
    assert result.macs_inside is None and result.macs_total is None
    fixed = run(chain("Relu", shape=("N", 3, "H", "W")), Options(input_shapes={"x": (2, 3, 8, 8)})).report
    assert fixed.macs_inside == fixed.macs_total == 64 * 9 * (8 * 3 + 4 * 8)
