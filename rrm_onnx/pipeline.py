"""The conversion from end to end: read this first. Each stage is a module of the same name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from rrm_onnx.common import source_hash
from rrm_onnx.emit import emit
from rrm_onnx.load import load
from rrm_onnx.match import match
from rrm_onnx.normalise import normalise
from rrm_onnx.partition import partition
from rrm_onnx.report import Report, report
from rrm_onnx.thresholds import gates
from rrm_onnx.types import Options


@dataclass(frozen=True)
class Converted:
    """The converted model, and what became of every operator."""

    model: onnx.ModelProto
    report: Report


def run(model: str | os.PathLike[str] | onnx.ModelProto, options: Options | None = None) -> Converted:
    """Convert `model` as `options` say. Raises RrmError: LoadError, ConvertError, ThresholdsError."""
    options = options or Options()
    source = load(model)
    digest = source_hash(source)
    limits = gates(options.tolerance, options.thresholds, digest)
    normal = normalise(source, options.input_shapes)
    decisions = match(normal, options.skip)
    plan = partition(normal.graph, decisions)
    converted = emit(normal, plan, limits, options.streams, digest)
    result = report(source, normal.graph, plan, converted, limits.default)
    converted.metadata_props.add(key="rrm.report", value=result.to_json())
    return Converted(converted, result)


def examine(model: str | os.PathLike[str] | onnx.ModelProto, options: Options | None = None) -> Report:
    """The report of a conversion, also where there is nothing to convert. Raises RrmError as `run` does."""
    options = options or Options()
    source = load(model)
    normal = normalise(source, options.input_shapes)
    plan = partition(normal.graph, match(normal, options.skip))
    if plan.regions:
        return run(model, options).report
    return report(source, normal.graph, plan, gs.export_onnx(normal.graph, do_type_check=False), 0.0)


def convert(
    model: str | os.PathLike[str] | onnx.ModelProto,
    *,
    tolerance: float | None = None,
    thresholds: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    streams: bool = False,
    skip: Sequence[str] = (),
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> onnx.ModelProto:
    """The model with its convolutional parts turned into regions that compute only what changed.

    model: path of an .onnx file, or a ModelProto, which is not changed.
    tolerance: share of a map's RMS by which a site may differ from the held one before it counts as changed; 0 is
        exact; None takes the thresholds' default, else 0.
    thresholds: path or content of a thresholds file (thresholds.py) with a threshold per gate.
    streams: add the inputs rrm_stream (int64, an id per batch row), rrm_reset (bool) and rrm_tolerance (float).
    skip: names or operator types of nodes that shall stay dense.
    input_shapes: fixed shapes for inputs that are declared dynamic.

    Inputs and outputs keep names, types and shapes (but for `input_shapes`), as do metadata and opset imports.
    Raises RrmError with a hint where the model cannot be read, or nothing in it can be converted.
    """
    return run(model, Options(tolerance, thresholds, streams, tuple(skip), input_shapes)).model
