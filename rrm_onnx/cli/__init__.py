"""The command line `rrm-onnx`: one function per command, in the modules beside this one.

Data (and --json) go to stdout, everything else to stderr. Exit status: 0 done, 1 a check failed, 2 bad input.
This package is the only place that prints or exits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status; nothing the user does wrong ends in a traceback."""
    try:
        from rrm_onnx.cli.commands import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("rrm_onnx"):
            raise
        print(f"error: the command line needs {error.name}, which is not installed", file=sys.stderr)
        print(f"\nhint: pip install {error.name}", file=sys.stderr)
        return 2
    return run(arguments)


__all__ = ["main"]
