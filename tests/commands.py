"""What the tests of the command line share."""

from __future__ import annotations

import pathlib
import re

from rrm_onnx.cli import main

FRAMES = 5  # of clip.mkv in conftest.folder


def files(folder: pathlib.Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def refused(capsys, arguments: list[str], message: str, hint: str = "", status: int = 2) -> None:
    """The command ends with `error: ...`, a blank line, `hint: ...` and the status; stdout stays empty."""
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    found = re.search(r"^error: (.+)\n(?:\nhint: (.+)\n)?\Z", err, re.MULTILINE)
    assert found, err
    assert re.search(message, found[1]), found[1]
    assert re.search(hint, found[2] or "missing"), found[2]
    assert found[2], "no hint"
