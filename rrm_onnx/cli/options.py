"""Options that several commands share, and their parameter types."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from rrm_onnx import video

F = TypeVar("F", bound=Callable[..., Any])
FRAMES = 200
SHAPE = "NAME=1x3x480x640"

ModelPath = click.Path(path_type=pathlib.Path, readable=False)  # what is wrong with a file is said elsewhere


def size(text: str) -> tuple[int, int]:
    """WxH -> (width, height)."""
    match = re.fullmatch(r"([1-9]\d*)[xX]([1-9]\d*)", text)
    if not match:
        raise click.BadParameter(f"{text!r} is not a size, write width x height as in 640x480")
    return int(match[1]), int(match[2])


def numbers(text: str) -> tuple[float, ...]:
    """One number, or three separated by commas."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) not in (1, 3):
        raise click.BadParameter(f"{text!r} is not one number or three with commas, as in 104,117,123")
    return found


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """NAME=1x3x480x640 -> (name, dimensions)."""
    match = re.fullmatch(r"(.+)=([1-9]\d*(?:[xX,][1-9]\d*)*)", text)
    if not match:
        raise click.BadParameter(f"{text!r} is not {SHAPE}")
    return match[1], tuple(int(n) for n in re.split("[xX,]", match[2]))


def by_name(
    _context: click.Context, _parameter: click.Parameter, given: Sequence[tuple[str, tuple[int, ...]]]
) -> dict[str, tuple[int, ...]] | None:
    """What all --input-shape of a command line say together; None where there is none."""
    names = [name for name, _ in given]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise click.BadParameter(f"the shape of {twice!r} is given twice")
    return dict(given) or None


def shape_words(shapes: Mapping[str, Sequence[int]] | None) -> list[str]:
    """The --input-shape options of this command line as words for the next one."""
    return [
        word
        for name, dims in (shapes or {}).items()
        for word in ("--input-shape", f"{name}={'x'.join(map(str, dims))}")
    ]


def clip_options(required: bool, frames: int = FRAMES, several: bool = False) -> Callable[[F], F]:
    """--clip and how it is read: the command gets `clip`, and the rest by keyword for `reading_of`."""
    count = f"At most this many frames{' of each clip' if several else ''} [{frames}]."
    what = "Video, GIF, folder of images or image glob" + ("; may be given several times." if several else ".")
    options = [
        click.option("--clip", required=required, multiple=several, metavar="CLIP", help=what),
        click.option("--start", type=click.IntRange(0), default=0, help="First frame [0]."),
        click.option("--frames", type=click.IntRange(1), default=frames, help=count),
        click.option("--size", type=size, metavar="WxH", help="Size of the frames [the model's, or the clip's own]."),
        click.option("--order", type=click.Choice(["rgb", "bgr", "gray"]), help="Order of the channels [rgb or gray]."),
        click.option(
            "--mean", type=numbers, metavar="X|X,Y,Z", help="x = (pixel - mean) / std with pixels 0..255 [0]."
        ),
        click.option("--std", type=numbers, metavar="X|X,Y,Z", help="One number, or three separated by commas [1]."),
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def reading_of(given: dict[str, Any], usual: video.ClipOptions | None = None) -> video.ClipOptions:
    """The clip options of a command line as one value; `usual` stands in for what was not given."""
    return dataclasses.replace(usual or video.ClipOptions(), **{k: v for k, v in given.items() if v is not None})


def repeated(given: dict[str, Any]) -> list[str]:
    """The clip options of this command line as words for the next one."""
    words: list[str] = []
    if given["start"]:
        words += ["--start", str(given["start"])]
    if given["size"]:
        words += ["--size", "{}x{}".format(*given["size"])]
    if given["order"]:
        words += ["--order", given["order"]]
    for name in ("mean", "std"):
        if given[name]:
            words += [f"--{name}", ",".join(f"{x:g}" for x in given[name])]
    return words


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
tolerance_option = click.option(
    "--tolerance",
    type=click.FloatRange(0),
    help="Hold what moved less than this share of a layer's usual size; 0 is exact [the thresholds file's, else 0].",
)
input_shape_option = click.option(
    "--input-shape", "shapes", multiple=True, type=shape, callback=by_name, metavar=SHAPE, help="For an open shape."
)
thresholds_option = click.option("--thresholds", type=ModelPath, help="File with a threshold for each layer.")
threads_option = click.option(
    "--threads", type=click.IntRange(1), default=2, show_default=True, help="Threads of each session."
)
isa_option = click.option(
    "--isa", metavar="LEVEL", help="Instruction set of the rrm operators: amx, avx512, avx2, portable, neon [the best]."
)
