"""What is spelled out before onnxruntime sees the model: the same results, and what lies around it converts."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from models import Net, dense_ops, feeds, relative
from native import needs_library
from normalised import run, same_function
from onnx import TensorProto, helper
from videos import video

import rrm_onnx
from rrm_onnx.normalise.ahead import respell_ahead

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


def group_norm(shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    net = Net(21)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    scale, bias = (net.const(net.rng.uniform(0.5, 2, 8), dtype) for _ in range(2))
    x = net.add("Relu", net.input(shape=shape, kind=kind))
    net.output(net.add("GroupNormalization", x, scale, bias, num_groups=2), kind=kind)
    return net.model(ir_version=10)


@pytest.mark.parametrize("shape", [(2, 8, 6), (1, 8, 5, 4), (1, 8, 3, 4, 5)])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_group_norms_of_any_rank_and_type(shape: tuple[int, ...], kind: int) -> None:
    model = group_norm(shape, kind)
    found = respell_ahead(model)
    assert "GroupNormalization" not in [n.op_type for n in found.graph.node]
    inputs = feeds(model)
    got, want = (run(m, inputs)[0].astype(np.float32) for m in (found, model))
    assert relative(got, want) < (1e-6 if kind == TensorProto.FLOAT else 2e-3)


def test_a_group_norm_of_computed_parameters_stays() -> None:
    net = Net(21)
    names = [net.input(name, (8,)) for name in ("scale", "bias")]
    net.output(net.add("GroupNormalization", net.input(shape=(1, 8, 4, 4)), *names, num_groups=2))
    model = net.model(ir_version=10)
    assert [n.op_type for n in respell_ahead(model).graph.node] == ["GroupNormalization"]


def test_others_of_the_name_stay() -> None:
    """Of another domain, or of an opset that has no such operator."""
    model = model_of("Crop", {"border": [1, 1, 1, 1]})
    assert respell_ahead(model) is not model
    model.opset_import[0].version = 10
    assert respell_ahead(model) is model
    model.opset_import[0].version = 7
    model.graph.node[0].domain = "elsewhere"
    assert respell_ahead(model) is model
