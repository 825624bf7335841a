"""The conversion from end to end: read this first. Each stage is a module of the same name."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx_graphsurgeon.logger import G_LOGGER

from rrm_onnx.common import source_hash
from rrm_onnx.emit import check, emit
from rrm_onnx.fuse import fuse
from rrm_onnx.load import load
from rrm_onnx.match import match
from rrm_onnx.normalise import normalise
from rrm_onnx.pack import pack
from rrm_onnx.partition import partition
from rrm_onnx.report import Report, report
from rrm_onnx.thresholds import Gates, gates
from rrm_onnx.types import Normalised, Options, Plan


@dataclass(frozen=True)
class Converted:
    """The converted model, and what became of every operator."""

    model: onnx.ModelProto
    report: Report


@dataclass(frozen=True)
class Planned:
    """What stands before anything is written."""

    options: Options
    source: onnx.ModelProto
    digest: str
    limits: Gates
    normal: Normalised
    plan: Plan


def run(model: str | os.PathLike[str] | onnx.ModelProto, options: Options | None = None) -> Converted:
    """Convert `model` as `options` say. Raises RrmError: LoadError, ConvertError, ThresholdsError."""
    return write(decide(model, options or Options()))


def examine(model: str | os.PathLike[str] | onnx.ModelProto, options: Options | None = None) -> Report:
    """The report of a conversion. Raises RrmError as `run` does."""
    return run(model, options).report


def decide(model: str | os.PathLike[str] | onnx.ModelProto, options: Options) -> Planned:
    """The stages that decide: load, normalise, match, partition."""
    source = load(model)
    digest = source_hash(source)
    limits = gates(options.tolerance, options.thresholds, digest)
    with G_LOGGER.suppress():  # onnx-graphsurgeon prints what it warns of, and stdout is the user's
        normal = normalise(source, options.input_shapes, options.skip)
    decisions = match(normal, options.skip)
    return Planned(options, source, digest, limits, normal, partition(normal.graph, decisions))


def write(planned: Planned) -> Converted:
    """The stage that writes: emit, with the report in the model's metadata."""
    normal, plan, limits = planned.normal, planned.plan, planned.limits
    with G_LOGGER.suppress():
        converted = emit(normal, fuse(normal.graph, plan, limits), limits, planned.options.streams, planned.digest)
    result = report(planned.source, normal.graph, plan, converted, limits.default)
    converted.metadata_props.add(key="rrm.report", value=result.to_json())
    if not planned.options.flat:
        converted = pack(converted)
        check(converted)
    return Converted(converted, result)


def convert(
    model: str | os.PathLike[str] | onnx.ModelProto,
    *,
    tolerance: float | None = None,
    thresholds: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    streams: bool = False,
    skip: Sequence[str] = (),
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    flat: bool = False,
) -> onnx.ModelProto:
    """The model with its convolutional parts turned into regions that compute only what changed.

    model: path of an .onnx file, or a ModelProto, which is not changed.
    tolerance: share of a map's RMS by which a site may differ from the held one before it counts as changed; 0 is
        exact; None takes the thresholds' default, else 0.
    thresholds: path or content of a thresholds file (thresholds.py) with a threshold per gate.
    streams: add the inputs rrm_stream (int64, an id per batch row), rrm_reset (bool) and rrm_tolerance (float).
    skip: names or operator types of nodes of the model that shall stay as they are: "Gemm" means what the model calls a
        Gemm, though it would become a convolution, and "Conv" does not. Others mean nodes as the report names them.
    input_shapes: fixed shapes for inputs that are declared dynamic.
    flat: leave each rrm node a node of the graph, to be looked at; slower than the Regions that run many as one.

    Inputs and outputs keep names, types and shapes (but for `input_shapes`), as do metadata and opset imports. Where
    nothing is worth converting, the model comes back as it is, with a warning (UserWarning) that says why.
    Raises RrmError with a hint where the model cannot be read.
    """
    found = run(model, Options(tolerance, thresholds, streams, tuple(skip), input_shapes, flat))
    if found.report.unchanged:
        warnings.warn(f"nothing was converted: {found.report.unchanged}", stacklevel=2)
    return found.model
