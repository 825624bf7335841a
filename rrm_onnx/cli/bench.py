"""`rrm-onnx bench`: the original and the converted model on a clip, or single operators on maps of their own."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from rrm_onnx import bench, yardstick
from rrm_onnx.cli import shell
from rrm_onnx.cli.compare import convert, fix_shapes, load_converted, read_clip, show_result
from rrm_onnx.cli.operators import time_operators
from rrm_onnx.cli.options import (
    F,
    ModelPath,
    clip_options,
    input_shape_option,
    isa_option,
    json_option,
    repeated,
    shape_words,
    threads_option,
    thresholds_option,
    tolerance_option,
)
from rrm_onnx.cli.profile import show_profile
from rrm_onnx.errors import RrmError


@dataclasses.dataclass(frozen=True)
class Operators:
    """The options that belong to --op."""

    names: tuple[str, ...]
    activities: tuple[float, ...]
    repeat: int | None


def operator_options(function: F) -> Callable[..., Any]:
    """--op and what goes with it: the command gets them as `operators`."""

    @functools.wraps(function)  # click keeps the options so far on the function
    def command(op: tuple[str, ...], activity: tuple[float, ...], repeat: int | None, **rest: Any) -> Any:
        return function(operators=Operators(op, activity, repeat), **rest)

    options = (
        click.option("--op", multiple=True, metavar="NAME", help="Time single operators: a NAME, `all` or `resnet50`."),
        click.option(
            "--activity",
            type=click.FloatRange(0, 1),
            multiple=True,
            metavar="SHARE",
            help="With --op: share of the sites that changes from run to run [0, 0.01, 0.05, 0.25, 0.5 and 1].",
        ),
        click.option("--repeat", type=click.IntRange(1), help="With --op: runs at each activity [20]."),
    )
    decorated: Callable[..., Any] = command
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


@click.command("bench", short_help="Time both models on a clip, or single operators.")
@click.argument("model", type=ModelPath, required=False)
@click.argument("converted", type=ModelPath, required=False)
@clip_options(required=False)
@threads_option
@isa_option
@tolerance_option
@thresholds_option
@input_shape_option
@click.option("--profile", is_flag=True, help="Also where the converted model's time goes, by node and phase.")
@operator_options
@json_option
def bench_command(
    model: pathlib.Path | None,
    converted: pathlib.Path | None,
    clip: str | None,
    threads: int,
    isa: str | None,
    operators: Operators,
    as_json: bool,
    **rest: Any,
) -> int:
    """Time the original and the converted model on a clip, frame by frame in one process.

    Without CONVERTED, MODEL is converted in memory with --tolerance, --thresholds and --input-shape.

    With --op there is no MODEL: operators of a table are timed one by one, on maps of which a share changes; with a
    --tolerance each behind another operator, whose changes a convolution may add to sums that it keeps.
    """
    context = click.get_current_context()
    if not operators.names and (operators.activities or operators.repeat):
        raise click.UsageError("--activity and --repeat belong to --op", context)
    yardstick.settle_denormals()
    entries = yardstick.config_entries(isa=isa)
    if operators.names:
        used = {"operators", "op", "activity", "repeat", "threads", "isa", "tolerance", "as_json"}
        given = [p for p in context.params if context.get_parameter_source(p) is ParameterSource.COMMANDLINE]
        if set(given) - used:
            raise click.UsageError("--op takes no model, no clip and none of their options", context)
        tolerance = rest["tolerance"] or 0.0
        found = time_operators(operators.names, operators.activities, threads, entries, operators.repeat, tolerance)
        if as_json:
            shell.data(found)
        return shell.OK
    if model is None:
        raise click.UsageError("missing argument 'MODEL'", context)
    if clip is None:
        raise click.UsageError("missing option '--clip'", context)
    return time_models(model, converted, clip, threads, entries, as_json, **rest)


def time_models(
    model: pathlib.Path,
    converted: pathlib.Path | None,
    clip: str,
    threads: int,
    entries: dict[str, str],
    as_json: bool,
    tolerance: float | None,
    thresholds: pathlib.Path | None,
    shapes: dict[str, tuple[int, ...]] | None,
    profile: bool,
    **reading: Any,
) -> int:
    """`bench` on a clip."""
    if converted and (tolerance is not None or thresholds or shapes):
        raise RrmError(
            f"{converted}: is already converted, --tolerance, --thresholds and --input-shape do not apply",
            hint="leave them out, or leave the converted model out",
        )
    original = yardstick.load(model)
    if converted:
        fast = load_converted(converted, original)
    else:
        fast = convert(model, tolerance, thresholds, shapes)
        fix_shapes(original, shapes)
    frames = read_clip(clip, fast, reading)
    with shell.progress("timing", len(frames)) as step:
        result = bench.compare(
            original,
            fast,
            frames.feeds(),
            threads=threads,
            entries=entries,
            on_frame=lambda t, _dense, _converted: step(t + 1),
            phases=profile,
        )
    show_result(f"{result.frames} frames of {clip}, {threads} threads; the first is not counted", result)
    nodes = {"profile": show_profile(result, fast)} if profile else {}
    if converted:
        shell.next_command("rrm-onnx", "inspect", converted)
    elif result.ratio < 1 and not tolerance and not thresholds:
        again = [*repeated(reading), "--tolerance", "0.02", *shape_words(shapes)]
        shell.next_command("rrm-onnx", "bench", model, "--clip", clip, *again)
    else:
        given = [] if tolerance is None else ["--tolerance", f"{tolerance:g}"]
        given += ["--thresholds", str(thresholds)] if thresholds else []
        shell.next_command("rrm-onnx", "convert", model, *given, *shape_words(shapes))
    if as_json:
        shell.data(result.to_dict() | nodes)
    return shell.OK
