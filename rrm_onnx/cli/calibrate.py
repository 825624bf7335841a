"""`rrm-onnx calibrate`."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rrm_onnx import video, yardstick
from rrm_onnx.cli import shell
from rrm_onnx.cli.files import check_writable, output_path, write_atomically
from rrm_onnx.cli.options import (
    FRAMES,
    ModelPath,
    clip_options,
    input_shape_option,
    json_option,
    reading_of,
    repeated,
    threads_option,
)
from rrm_onnx.errors import RrmError, RuntimeMissingError

STAGES = {
    "recording": "running the original",
    "learning": "learning what nodes cost",
    "holding": "holding answers",
    "weights": "searching thresholds",
    "turns": "trying turns",
    "checking": "checking",
    "comparing": "comparing",
}


@click.command("calibrate", short_help="Find the thresholds for the error that you accept.")
@click.argument("model", type=ModelPath)
@click.option("-o", "--output", type=ModelPath, metavar="OUT", help="Converted model [NAME.rrm.onnx beside the input].")
@click.option("--thresholds", type=ModelPath, metavar="OUT", help="Thresholds [NAME.thresholds.json beside the input].")
@click.option("--plot", type=ModelPath, metavar="OUT", help="Picture of the curve (PNG).")
@click.option("--max-error", type=click.FloatRange(0, min_open=True), help="Largest mean relative L2 error.")
@click.option(
    "--metric", metavar="KIND", help="How answers are compared: yolox, mask, keypoints, FILE.py:FUNCTION, ..."
)
@click.option("--budget", type=float, help="With --metric: the least mean agreement, 1 is the same answer.")
@clip_options(required=True, several=True)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=10.0, help="The search ends then [10].")
@click.option("--streams", is_flag=True, help="Several videos in one session: adds the inputs rrm_stream, rrm_reset.")
@click.option("--skip", multiple=True, metavar="NAME", help="A node that stays as it is; may be given several times.")
@threads_option
@input_shape_option
@json_option
def calibrate_command(
    model: pathlib.Path,
    output: pathlib.Path | None,
    thresholds: pathlib.Path | None,
    plot: pathlib.Path | None,
    max_error: float | None,
    metric: str | None,
    budget: float | None,
    clip: tuple[str, ...],
    minutes: float,
    streams: bool,
    skip: tuple[str, ...],
    threads: int,
    shapes: dict[str, tuple[int, ...]] | None,
    as_json: bool,
    **reading: Any,
) -> int:
    """Find, on your footage, the thresholds that save most at the error that you accept, and write the converted model.

    Say the error as --max-error E, or as --metric KIND --budget B: rrm-onnx calibrate model.onnx --clip mine.mp4
    --metric yolox --budget 0.95. Ctrl-C ends the search with the best so far.
    """
    from rrm_onnx.calibrate import CalibrationStopped, calibrate

    kind, value = wanted(max_error, metric, budget)
    out = output_path(model, output)
    file = thresholds or model.with_name(f"{model.name.removesuffix('.onnx')}.thresholds.json")
    check_places(model, {"-o": out, "--thresholds": file, "--plot": plot})
    if plot:
        check_matplotlib(plot)
    source = yardstick.load(model)
    yardstick.settle_denormals()
    try:
        with told_in_the_end() as warn, bars() as progress:
            found = calibrate(
                source,
                list(clip),
                metric=kind,
                budget=value,
                reading=reading_of(reading, video.ClipOptions(frames=FRAMES)),
                threads=threads,
                minutes=minutes,
                input_shapes=shapes,
                skip=skip,
                progress=progress,
                warn=warn,
            )
    except CalibrationStopped as error:
        save(error.found, file)
        raise RrmError(f"{error.message}; what was found so far is in {file}", error.hint) from error
    write(found, model, out, file, streams=streams, skip=skip, shapes=shapes)
    show(found, out, file)
    if plot:
        draw(found, plot)
    if as_json:
        where = {"model": str(model), "converted": str(out), "thresholds": str(file)}
        shell.data({**found.to_dict(), "digest": found.digest, **where})
    shell.next_command("rrm-onnx", "bench", model, out, *repeated(reading), "--clip", placeholder="OTHER_CLIP")
    return shell.OK


def wanted(max_error: float | None, metric: str | None, budget: float | None) -> tuple[str, float]:
    """Metric and budget of a command line."""
    context = click.get_current_context()
    if max_error is not None:
        if metric is not None or budget is not None:
            raise click.UsageError("--max-error goes without --metric and --budget", context)
        return "l2", max_error
    if metric is None or budget is None:
        raise click.UsageError("say the error that you accept: --max-error E, or --metric KIND --budget B", context)
    return metric, budget


def check_places(model: pathlib.Path, places: dict[str, pathlib.Path | None]) -> None:
    """Raises RrmError where a result cannot be written, or would take the place of the model or of another one."""
    taken = {model.resolve(): "the input"}
    for option, path in places.items():
        if path is None:
            continue
        if path.is_dir():
            raise RrmError(f"{path}: is a folder", hint=f"name a file with {option}")
        check_writable(path, option)
        if path.resolve() in taken:
            raise RrmError(f"{path}: is {taken[path.resolve()]}", hint=f"choose another name with {option}")
        taken[path.resolve()] = f"what {option} writes"


@contextmanager
def told_in_the_end() -> Iterator[Callable[[str], None]]:
    """Collects warnings and shows them when the block ends, also by an error: they may be its cause."""
    warnings: list[str] = []
    try:
        yield warnings.append
    finally:
        for warning in warnings:
            shell.warn(warning)


@contextmanager
def bars() -> Iterator[Callable[[Any], None]]:
    """One line that shows the stage, how far it is, and the best so far; nothing without a terminal."""
    out = shell.console()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[best]}"))
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as shown:
        task = shown.add_task("", total=None, best="")

        def update(now: Any) -> None:
            best = "" if now.best is None else f"best so far: {now.best.cost:.2f} ms a frame, loss {now.best.loss:.4f}"
            label = STAGES.get(now.stage, now.stage)
            shown.update(task, description=label, completed=now.done, total=now.total or None, best=best)

        yield update


def save(found: Any, path: pathlib.Path) -> None:
    write_atomically(path, found.to_json().encode())


def write(
    found: Any,
    model: pathlib.Path,
    out: pathlib.Path,
    file: pathlib.Path,
    *,
    streams: bool,
    skip: Sequence[str],
    shapes: dict[str, tuple[int, ...]] | None,
) -> None:
    """The thresholds first: they took long."""
    from rrm_onnx import pipeline
    from rrm_onnx.types import Options

    save(found, file)
    options = Options(None, found.to_dict(), streams, tuple(skip), shapes)
    converted = pipeline.run(model, options)
    write_atomically(out, converted.model.SerializeToString())


def show(found: Any, out: pathlib.Path, file: pathlib.Path) -> None:
    """The curve with the chosen point, and what the numbers are."""
    facts = found.facts
    rows = [
        (
            entry.kind,
            f"{entry.value:g}" if entry.kind != "exact" else "-",
            f"{entry.loss:.4f}",
            f"{entry.cost:.2f}",
            shell.percent(entry.macs),
            remark(found, entry),
        )
        for entry in sorted(found.curve, key=lambda e: (e.kind, e.value))
    ]
    if rows:
        title = f"on frames that were not searched on; original {facts['original_ms']:.2f} ms a frame"
        shell.table(title, ("", "value", "loss", "ms a frame", "multiply-accumulates", ""), rows)
    else:
        check = facts["check"]
        shell.note(f"on frames that were not searched on: loss {check['loss']:.4f}, {check['cost_ms']:.2f} ms a frame")
    loss = "mean error" if facts["is_error"] else "1 - mean agreement"
    shell.note(f"loss: {loss}; ms of the converted model as its costs were measured during the search")
    if facts["stopped"]:
        shell.warn(f"the search ended early ({facts['stopped']}): this is the best it had")
    if found.exact:
        shell.warn(f"no thresholds keep to the budget of {facts['budget']:g} with a gain: {out} is exact")
    original, converted = facts["original_ms"], facts["check"]["cost_ms"]
    if original < converted:
        shell.warn(f"the original is faster: {original:.2f} ms a frame, {out} takes {converted:.2f} ms on such footage")
    shell.note(f"{out} and {file} are written")


def remark(found: Any, entry: Any) -> str:
    """What the table says beside an entry: that it was chosen, or what a loss that looks good hides."""
    if entry.kind == ("exact" if found.exact else "calibrated") and entry.value in (0, 1):
        return "chosen"
    stale = found.facts["stale"]
    if entry.kind == "hold" and entry.value in stale["periods"]:
        return f"too much is lost at {stale['speed']} times the speed"
    return ""


def draw(found: Any, path: pathlib.Path) -> None:
    from rrm_onnx.cli.curve import picture

    if found.curve:
        picture(found, path)
    else:
        shell.warn(f"{path} is not written: the calibration was interrupted before there was a curve")


def check_matplotlib(path: pathlib.Path) -> None:
    """Before the search, which takes long."""
    if importlib.util.find_spec("matplotlib") is None:
        raise RuntimeMissingError(
            f"{path}: the picture needs matplotlib", hint='pip install "rrm_onnx[bench]", or leave --plot out'
        )
