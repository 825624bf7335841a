"""What all commands share: exit statuses, messages, tables, progress. Everything here goes to stderr but `data`."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

OK, CHECK_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
FIGURE = re.compile(r"([-+.\deE]+|nan|inf)?( [%xM])?")
PLAIN_WIDTH = 120  # where stderr is no terminal


def console() -> Console:
    """rich leaves colour out where NO_COLOR is set or stderr is no terminal."""
    found = Console(stderr=True, highlight=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = PLAIN_WIDTH
    return found


def fail(message: str, hint: str | None = None, status: int = BAD_INPUT) -> int:
    """`error: ...`, and where there is one, a blank line and `hint: ...`. Returns the exit status."""
    out = console()
    out.print(f"[bold red]error:[/] {_plain(message)}", soft_wrap=True)
    if hint:
        out.print(f"\n[bold]hint:[/] {_plain(hint)}", soft_wrap=True)
    return status


def note(message: str) -> None:
    console().print(_plain(message), soft_wrap=True)


def warn(message: str) -> None:
    """The result stands, but the user has to know this about it."""
    console().print(f"[bold yellow]warning:[/] {_plain(message)}", soft_wrap=True)


def next_command(*words: str | os.PathLike[str], placeholder: str | None = None) -> None:
    """Names the command to run next; `placeholder` is appended unquoted (an argument the user fills in)."""
    line = shlex.join([os.fspath(w) for w in words]) + (f" {placeholder}" if placeholder else "")
    console().print(f"\nnext: [bold]{_plain(line)}[/]", soft_wrap=True)


def data(value: dict[str, Any]) -> None:
    """`value` as JSON on stdout. NaN and infinity, which JSON does not have, become null."""
    click.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table whose first column is text and whose other columns are aligned right when they hold figures."""
    found = Table(title=_plain(title), title_justify="left", title_style="bold", box=SIMPLE, show_header=any(columns))
    for k, name in enumerate(columns):
        figures = k > 0 and all(FIGURE.fullmatch(str(row[k])) for row in rows)
        found.add_column(name, justify="right" if figures else "left", overflow="fold")
    for row in rows:
        found.add_row(*(_plain(str(cell)) for cell in row))
    out = console()
    out.print()
    out.print(found)


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar while the block runs; call what it yields with the number of steps done. Nothing without a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    out = console()
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _plain(text: str) -> str:
    """Text with rich's markup taken literally: a tensor may well be called x[0]."""
    return text.replace("[", r"\[")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
