"""Graphs as exporters write them convert, whatever made each special, and answer as before."""

from __future__ import annotations

import pytest
from exporters import EXPORTS
from families import FAMILIES
from families.layers import Family
from videos import video

import rrm_onnx
from rrm_onnx import pipeline
from rrm_onnx.types import Options

pytest.importorskip("onnxruntime")


# What is left dense: what makes vectors or boxes of the maps, at the end.
DENSE = {
    "torch.onnx, flatten": {"Flatten"},
    "torch.onnx, assignment": {"Gather", "Sigmoid", "Unsqueeze", "ScatterND"},
    "torch.onnx dynamo, axes": {"Flatten", "Gemm"},
    "tf2onnx, bytes": {"Squeeze", "Gemm"},
    "ultralytics, masks": {"Reshape", "Concat", "Mul"},
    "ultralytics, TopK": {"GatherElements", "ReduceMax", "Reshape", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze"},
}


@pytest.mark.parametrize("export", EXPORTS, ids=lambda e: e.name)
def test_is_one_region(export: Family) -> None:
    """With its sizes given, and with those open that it leaves open."""
    for sizes in ({}, *export.sizes):
        report = pipeline.examine(export.build(), Options(input_shapes=sizes))
        assert len(report.regions) == 1, report.dense
        assert {d.op_type for d in report.dense} == DENSE.get(export.name, set())


@pytest.mark.parametrize("export", EXPORTS, ids=lambda e: e.name)
def test_converts_and_answers_the_same(export: Family, library: str) -> None:
    """All multiply-accumulates inside, every bit as in a fresh session, 1e-4 to dense (A4)."""
    model = export.build()
    converted = rrm_onnx.convert(model)
    for sizes in export.sizes:
        report = pipeline.examine(model, Options(input_shapes=sizes))
        assert report.macs_total and report.macs_inside == report.macs_total, report.dense
        found = rrm_onnx.verify(model, converted, video(model, sizes))
        assert found.exact and found.fresh_equal and found.ok, found.failures


def test_names_are_those_of_exporters() -> None:
    names = [e.name for e in EXPORTS]
    assert len(set(names)) == len(names) and not {f.name for f in FAMILIES} & set(names)
    known = ("torch.onnx,", "torch.onnx dynamo,", "tf2onnx,", "keras2onnx", "paddle2onnx,", "ultralytics,")
    assert {k for k in known for n in names if n.startswith(k)} == set(known)
