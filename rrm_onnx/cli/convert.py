"""`rrm-onnx convert`."""

from __future__ import annotations

import pathlib
from typing import Any

import click

from rrm_onnx.cli import shell
from rrm_onnx.cli.files import output_path, write_atomically
from rrm_onnx.cli.options import ModelPath, input_shape_option, json_option, thresholds_option, tolerance_option
from rrm_onnx.cli.report import show_report


@click.command("convert", short_help="Write a model that computes only what changed.")
@click.argument("model", type=ModelPath)
@click.option("-o", "--output", type=ModelPath, metavar="OUT", help="Converted model [NAME.rrm.onnx beside the input].")
@tolerance_option
@thresholds_option
@click.option("--streams", is_flag=True, help="Several videos in one session: adds the inputs rrm_stream, rrm_reset.")
@click.option(
    "--skip",
    multiple=True,
    metavar="NAME",
    help="A node of the model, or an operator, that stays as it is; may be given several times.",
)
@input_shape_option
@click.option("--flat", is_flag=True, help="A node for each operator, to be looked at; slower.")
@json_option
def convert_command(
    model: pathlib.Path,
    output: pathlib.Path | None,
    tolerance: float | None,
    thresholds: pathlib.Path | None,
    streams: bool,
    skip: tuple[str, ...],
    shapes: dict[str, tuple[int, ...]] | None,
    flat: bool,
    as_json: bool,
) -> int:
    """Write a model that computes only what changed since the frame before."""
    from rrm_onnx import pipeline
    from rrm_onnx.types import Options

    out = output_path(model, output)
    options = Options(tolerance, thresholds, streams, skip, shapes, flat)
    converted = pipeline.run(model, options)
    write_atomically(out, converted.model.SerializeToString())
    report: dict[str, Any] = converted.report.to_dict()
    show_report(f"{model.name} -> {out}", report)
    shell.next_command("rrm-onnx", "verify", model, out, "--clip", placeholder="CLIP")
    if as_json:
        shell.data({"model": str(model), "converted": str(out), "report": report})
    return shell.OK
