"""`rrm-onnx demo`."""

from __future__ import annotations

import pathlib
from typing import Any

import click

from rrm_onnx import yardstick
from rrm_onnx.cli import shell
from rrm_onnx.cli.compare import show_result
from rrm_onnx.cli.files import check_writable, write_atomically
from rrm_onnx.cli.options import ModelPath, clip_options, json_option, reading_of, threads_option
from rrm_onnx.demo.screen import FRAMES


@click.command("demo", short_help="Find text in a screen recording, with both models.")
@click.option("--model", type=ModelPath, help="Another network than PP-OCRv6 text detection.")
@clip_options(required=False, frames=FRAMES)
@click.option("--tolerance", type=click.FloatRange(0), default=0.02, show_default=True, help="0 is exact.")
@click.option("--out", type=ModelPath, default=pathlib.Path("."), help="Folder for the picture and the model [here].")
@threads_option
@json_option
def demo_command(
    model: pathlib.Path | None,
    clip: str | None,
    tolerance: float,
    out: pathlib.Path,
    threads: int,
    as_json: bool,
    **reading: Any,
) -> int:
    """Find text in a screen recording with the original and the converted network; draw what was recomputed.

    Needs no file: the recording is drawn, the network comes with the package rapidocr (extra `demo`).
    """
    from rrm_onnx.demo import model as networks
    from rrm_onnx.demo.show import show

    check_writable(out / "demo")
    yardstick.settle_denormals()
    usual = networks.READING if model is None else None
    path = model or networks.find_model()
    options = reading_of(reading, usual)
    shell.note(f"{path.name}, tolerance {tolerance:g}: original and converted model on every frame")
    with shell.progress("comparing", options.frames) as step:
        shown = show(path, clip, options, tolerance, out, write_atomically, step, threads)
    for warning in shown.warnings:
        shell.warn(warning)
    show_result(f"{shown.result.frames} frames, {threads} threads; the first is not counted", shown.result)
    if shown.agreement is not None:
        shell.note(f"detected text agrees to {shown.agreement:.4f} (IoU), {shown.regions} texts in the picture")
    shell.note(f"picture: {shown.picture}\nconverted model: {shown.converted}")
    if as_json:
        shell.data(shown.to_dict())
    if shown.failure:
        return shell.fail(shown.failure, "run it again with a smaller --tolerance", shell.CHECK_FAILED)
    shell.next_command("rrm-onnx", "convert", placeholder="YOUR_MODEL.onnx")
    return shell.OK
