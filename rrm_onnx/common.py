"""Small helpers that several stages share: names, hints, one-line texts, and facts of a ModelProto."""

from __future__ import annotations

import ctypes
import difflib
import hashlib
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:  # running a converted model needs no graph library
    import onnx_graphsurgeon as gs


def source_hash(model: onnx.ModelProto) -> str:
    """SHA-256 of the serialized model: identifies the model that a conversion or a thresholds file belongs to."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def default_opset(model: onnx.ModelProto) -> int | None:
    """Version of the ai.onnx domain, None where it is not imported."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)


def replace_file(out: pathlib.Path, content: bytes) -> None:
    """Through a temporary file in the same folder and a rename: `out` is whole, or as it was before. Raises OSError."""
    part: str | None = None
    try:
        handle, part = tempfile.mkstemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o666 & ~_umask())  # mkstemp makes files that only the owner may read
        os.replace(part, out)
        part = None
    finally:
        if part is not None:
            pathlib.Path(part).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# Operators that onnx removed (ImageScaler, Crop, Affine), but runtimes still have.
TOLERATED = ("No Op registered for", "is deprecated")


@contextmanager
def stdout_as_stderr() -> Iterator[None]:
    """What the checker's C++ prints (warnings about operators of old) shall not get into data on stdout."""
    sys.stdout.flush()
    _flush_c()
    try:
        saved = os.dup(1)
    except OSError:  # no such stream
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        _flush_c()  # into a file or a pipe it would go later
        os.dup2(saved, 1)
        os.close(saved)


def _flush_c() -> None:
    """What C and C++ have printed and still hold."""
    try:
        ctypes.CDLL(None).fflush(None)
    except (OSError, TypeError, AttributeError):  # where the C library goes by another name
        return


def check_content(model: onnx.ModelProto) -> None:
    """onnx.checker.check_model, minus what runtimes accept. Raises onnx.checker.ValidationError.

    An output without a shape is accepted: it gets one while the checker looks.
    """
    tensors = [o.type.tensor_type for o in model.graph.output if o.type.HasField("tensor_type")]
    bare = [t for t in tensors if not t.HasField("shape")]
    for t in bare:
        t.shape.SetInParent()
    try:
        with stdout_as_stderr():
            onnx.checker.check_model(model)
    except onnx.checker.ValidationError as e:
        if not any(text in str(e) for text in TOLERATED):
            raise
    finally:
        for t in bare:
            t.ClearField("shape")


def one_line(error: BaseException) -> str:
    """The first sentence of an error's text, without the dump of nodes that may follow."""
    text = str(error).split("==> Context")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    short = re.sub(r"\s+", " ", " ".join(lines[:3]))
    return short if len(short) <= 300 else short[:297] + "..."


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or the first of wanted_1, wanted_2, ... that is not taken."""
    used = set(taken)
    if wanted not in used:
        return wanted
    count = 1
    while f"{wanted}_{count}" in used:
        count += 1
    return f"{wanted}_{count}"


def sole_reader(graph: gs.Graph, tensor: gs.Tensor) -> gs.Node | None:
    """The only node that reads a tensor; None where there are others, it is an output of the graph, or the reader
    stands in a subgraph."""
    if len(tensor.outputs) != 1 or any(tensor is o for o in graph.outputs):
        return None
    reader = tensor.outputs[0]
    return reader if any(reader is n for n in graph.nodes) else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the closest known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return "did you mean " + ", ".join(f"'{c}'" for c in close) + "?"
    shown = ", ".join(f"'{n}'" for n in names[:8])
    return f"known: {shown}" + (", ..." if len(names) > 8 else "")
