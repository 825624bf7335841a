"""The graphs of known families convert, keep their convolutions in regions, and answer as before."""

from __future__ import annotations

import pytest
from families import FAMILIES, Family
from videos import video

import rrm_onnx
from rrm_onnx import pipeline
from rrm_onnx.types import Options

pytest.importorskip("onnxruntime")
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)


@each_family
def test_convolutions_are_inside(family: Family) -> None:
    """At least the share that is expected; where sizes are open, as many as with the sizes given."""
    model = family.build()
    reports = [pipeline.examine(model, Options(input_shapes=sizes)) for sizes in ({}, *family.sizes)]
    known = reports[-1]
    assert known.macs_inside is not None and known.macs_total
    assert known.macs_inside >= family.inside * known.macs_total, known.dense
    assert len({sum(r.convolutions for r in report.regions) for report in reports}) == 1
    assert len({len(report.regions) for report in reports}) == 1


@each_family
@pytest.mark.parametrize("threads", [1, 2])
def test_answers_are_the_same(family: Family, threads: int, library: str) -> None:
    """Within rounding of the original's, and in every bit those of a fresh session (A4)."""
    model = family.build()
    converted = rrm_onnx.convert(model)
    for sizes in family.sizes:
        found = rrm_onnx.verify(model, converted, video(model, sizes), threads=threads)
        assert found.exact and found.fresh_equal and found.ok, found.failures
