"""Operators of ONNX's first versions, in those of today: the same results, and what lies around them converts."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from models import Net, dense_ops
from native import needs_library
from normalised import same_function
from videos import video

import rrm_onnx
from rrm_onnx.normalise.retired import respell_retired

FORMS: list[tuple[str, dict[str, Any], dict[str, int]]] = [
    ("ImageScaler", {"scale": 0.5, "bias": [1.0, -2.0, 3.0]}, {"Mul": 1, "Add": 1}),
    ("Affine", {"alpha": 150.0, "beta": -0.5}, {"Mul": 1, "Add": 1}),
    ("Affine", {}, {"Mul": 1}),
    ("Crop", {"border": [1, 2, 3, 4]}, {"Slice": 1}),
    ("Crop", {"border": [0, 2, 0, 0]}, {"Slice": 1}),
    ("Crop", {"border": [1, 2, 0, 0], "scale": [7, 9]}, {"Slice": 1}),
]


def model_of(op: str, attributes: dict[str, Any], opset: int = 7) -> onnx.ModelProto:
    net = Net(opset)
    t = net.add("Relu", net.add(op, net.input(), **attributes))
    net.output(net.conv(net.conv(t, 16), 8, 16, out="y"))
    return net.model(ir_version=8)


@pytest.mark.parametrize(("op", "attributes", "made"), FORMS)
@pytest.mark.parametrize("opset", [7, 9])
def test_spelled_out(op: str, attributes: dict[str, Any], made: dict[str, int], opset: int) -> None:
    found = same_function(model_of(op, attributes, opset))
    del found["Relu"], found["Conv"]
    assert +found == made


@needs_library
@pytest.mark.parametrize("op", ["ImageScaler", "Crop"])
def test_inside(op: str) -> None:
    attributes = next(a for o, a, _ in FORMS if o == op)
    model = model_of(op, attributes)
    converted = rrm_onnx.convert(model)
    assert set(dense_ops(converted)) <= {"Mul", "Add", "Slice"}
    assert rrm_onnx.verify(model, converted, video(model, {})).ok


def test_others_of_the_name_stay() -> None:
    """Of another domain, or of an opset that has no such operator."""
    model = model_of("Crop", {"border": [1, 1, 1, 1]})
    assert respell_retired(model) is not model
    model.opset_import[0].version = 10
    assert respell_retired(model) is model
    model.opset_import[0].version = 7
    model.graph.node[0].domain = "elsewhere"
    assert respell_retired(model) is model
