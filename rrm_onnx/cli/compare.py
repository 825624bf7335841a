"""`rrm-onnx verify`, and what it shares with `bench` and `demo`: the original and the converted model on one clip."""

from __future__ import annotations

import pathlib
from typing import Any

import click
import onnx

from rrm_onnx import bench, video, yardstick
from rrm_onnx.cli import shell
from rrm_onnx.cli.options import (
    ModelPath,
    clip_options,
    json_option,
    reading_of,
    repeated,
)
from rrm_onnx.common import source_hash
from rrm_onnx.errors import RrmError
from rrm_onnx.load import is_converted
from rrm_onnx.verify import Report, verify


@click.command("verify", short_help="Compare the answers of both models on a clip.")
@click.argument("model", type=ModelPath)
@click.argument("converted", type=ModelPath)
@clip_options(required=True)
@click.option("--rtol", type=click.FloatRange(0), help="Largest relative L2 error [1e-4; or 10 x tolerance].")
@json_option
def verify_command(
    model: pathlib.Path, converted: pathlib.Path, clip: str, rtol: float | None, as_json: bool, **reading: Any
) -> int:
    """Check that the converted model answers as the original does, on every frame of a clip."""
    original = yardstick.load(model)
    fast = load_converted(converted, original)
    frames = read_clip(clip, fast, reading)
    with shell.progress("comparing", len(frames)) as step:
        report = verify(original, fast, frames.feeds(), rtol=rtol, progress=step)
    rows = [
        (o.name, f"{o.mean_error:.2e}", f"{o.worst_error:.2e}", o.worst_frame, f"{o.largest_difference:.2e}")
        for o in report.outputs
    ]
    title = f"{report.frames} frames against {model.name}, allowed error {report.rtol:g}"
    shell.table(title, ("output", "mean error", "worst error", "in frame", "largest difference"), rows)
    shell.note(f"last frame equal to a fresh session's, bit for bit: {'yes' if report.fresh_equal else _why(report)}")
    if as_json:
        shell.data(report.to_dict())
    if not report.ok:
        hint = "please report it with the model"
        if not report.exact:
            hint = "convert with a smaller --tolerance, or allow more with --rtol"
        return shell.fail("; ".join(report.failures), hint, shell.CHECK_FAILED)
    shell.next_command("rrm-onnx", "bench", model, converted, "--clip", clip, *repeated(reading))
    return shell.OK


def _why(report: Report) -> str:
    return "no" if report.exact else "no (nor need it be: this model was converted with a tolerance)"


def show_result(title: str, result: bench.Result) -> None:
    """The table of a comparison."""
    keys = ("ms", "median_ms", "p99_ms", "first_ms", "cpu_ms")
    sides = {"original": result.dense.to_dict(), "converted": result.converted.to_dict()}
    rows = [(name, *(f"{side[key]:.2f}" for key in keys)) for name, side in sides.items()]
    shell.table(title, ("", "ms a frame", "median", "99th percentile", "first frame", "CPU ms a frame"), rows)
    shell.table(
        f"{result.ratio:.2f} times as fast" if result.ratio >= 1 else f"slower: {result.ratio:.2f} times the speed",
        ("", ""),
        [
            ("error (relative L2, worst output, mean over the frames)", f"{result.error:.2e}"),
            ("error of running the original on every 2nd frame only", f"{result.hold2_error:.2e}"),
            ("share of the multiply-accumulates that was done", shell.percent(result.macs_share)),
        ],
    )


def read_clip(clip: str, model: onnx.ModelProto, reading: dict[str, Any]) -> video.Clip:
    """The clip's frames for the model's picture input, with a progress bar.

    `model` is the converted one: its input has a size where the original's may be open.
    """
    options = reading_of(reading)
    target = video.image_input(model)
    with shell.progress("reading frames", options.frames) as step:
        frames = video.read_clip(clip, target, options, step)
    for warning in frames.warnings:
        shell.warn(warning)
    return frames


def load_converted(path: pathlib.Path, original: onnx.ModelProto) -> onnx.ModelProto:
    """A converted model; RrmError when the file is something else. Says so when it was made from another original."""
    model = yardstick.load(path)
    if not is_converted(model):
        raise RrmError(f"{path}: is not a converted model", hint=f"rrm-onnx convert {path}")
    source = next((p.value for p in model.metadata_props if p.key == "rrm.source"), None)
    if source not in (None, source_hash(original)):
        shell.note(f"note: {path} was converted from another model than this one")
    return model


def convert(
    model: pathlib.Path,
    tolerance: float | None,
    thresholds: pathlib.Path | None,
    shapes: dict[str, tuple[int, ...]] | None,
) -> onnx.ModelProto:
    """A converted model in memory."""
    from rrm_onnx import pipeline
    from rrm_onnx.types import Options

    return pipeline.run(model, Options(tolerance, thresholds, input_shapes=shapes)).model


def fix_shapes(original: onnx.ModelProto, shapes: dict[str, tuple[int, ...]] | None) -> None:
    """Give the original the shapes of the converted model: both sides may make use of them."""
    from rrm_onnx.normalise.inputs import set_input_shapes

    set_input_shapes(original, shapes or {})
