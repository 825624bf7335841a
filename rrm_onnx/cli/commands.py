"""The command group and the one place where errors become messages."""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import click

from rrm_onnx.cli import shell
from rrm_onnx.cli.bench import bench_command
from rrm_onnx.cli.calibrate import calibrate_command
from rrm_onnx.cli.compare import verify_command
from rrm_onnx.cli.convert import convert_command
from rrm_onnx.cli.demo import demo_command
from rrm_onnx.cli.examine import doctor_command, inspect_command
from rrm_onnx.errors import RrmError

# click 8.1 has no such error: it prints the help itself
NO_ARGUMENTS: tuple[type[Exception], ...] = tuple(
    kind for kind in [getattr(click.exceptions, "NoArgsIsHelpError", None)] if kind is not None
)
EPILOG = "Start with:  rrm-onnx demo   or   rrm-onnx convert MODEL.onnx"


class Group(click.Group):
    """Keeps the commands in the order of use and suggests the nearest name for an unknown one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.commands, 1)
            hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(self.commands)}"
            raise RrmError(f"no such command: {name}", hint=hint)
        return super().resolve_command(ctx, args)


def _version() -> str:
    try:
        return importlib.metadata.version("rrm_onnx")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


@click.group(cls=Group, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), message="%(prog)s %(version)s")
def group() -> None:
    """Makes a CNN in an ONNX file compute only what changed since the last frame of a video."""


COMMANDS = (
    convert_command,
    calibrate_command,
    verify_command,
    bench_command,
    inspect_command,
    doctor_command,
    demo_command,
)
for command in COMMANDS:
    group.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the commands return their exit status."""
    try:
        status: Any = group.main(
            list(arguments) if arguments is not None else None, prog_name="rrm-onnx", standalone_mode=False
        )
    except RrmError as error:
        message = f"node {error.node!r}: {error.message}" if _names_no_node(error) else error.message
        return shell.fail(message, error.hint)
    except click.ClickException as error:
        if isinstance(error, NO_ARGUMENTS):
            click.echo(error.format_message(), err=True)
            return shell.BAD_INPUT
        return shell.fail(*_usage(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return shell.INTERRUPTED
    return status if isinstance(status, int) else shell.OK


def _names_no_node(error: RrmError) -> bool:
    return error.node is not None and error.node not in error.message


def _usage(error: click.ClickException) -> tuple[str, str]:
    """Message and hint of a mistake on the command line."""
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "rrm-onnx"
    if isinstance(error, click.NoSuchOption):
        near = difflib.get_close_matches(error.option_name, error.possibilities or [], 1)
        hint = f"did you mean {near[0]}?" if near else f"{path} --help lists the options"
        return f"no such option: {error.option_name}", hint
    return message, f"{path} --help"
