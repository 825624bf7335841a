"""Writing results: complete or not at all."""

from __future__ import annotations

import os
import pathlib

from rrm_onnx.common import replace_file
from rrm_onnx.errors import RrmError


def output_path(model: pathlib.Path, given: pathlib.Path | None) -> pathlib.Path:
    """Where the converted model goes: `given`, or NAME.rrm.onnx beside NAME.onnx. Never the model itself.

    Raises RrmError before any work is done when nothing can be written there.
    """
    out = given or model.with_name(f"{model.name.removesuffix('.onnx')}.rrm.onnx")
    if out.is_dir():
        raise RrmError(f"{out}: is a folder", hint=f"name a file, for example -o {out / 'model.rrm.onnx'}")
    if out.exists() and model.exists() and out.samefile(model):
        raise RrmError(f"{out}: is the input, a model is never converted in place", hint="choose another name with -o")
    check_writable(out)
    return out


def check_writable(out: pathlib.Path, option: str = "-o") -> None:
    """Raises RrmError when `out`, which `option` names, cannot be created in its folder."""
    folder = out.parent
    if not folder.is_dir():
        raise RrmError(f"{out}: the folder {folder} does not exist", hint=f"create it, or choose another with {option}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RrmError(f"{out}: the folder {folder} is not writable", hint=f"choose another place with {option}")


def write_atomically(out: pathlib.Path, content: bytes) -> None:
    """Writes through a temporary file in the same folder and a rename: `out` is whole, or as it was before."""
    try:
        replace_file(out, content)
    except OSError as error:
        size = f"{len(content) / 1e6:.1f} MB"
        hint = f"{size} are needed; choose another place with -o"
        raise RrmError(f"{out}: cannot be written: {error.strerror or error}", hint=hint) from error
