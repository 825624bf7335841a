"""First stage: a path or a ModelProto becomes a checked copy, or a LoadError that says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.defs import onnx_opset_version

from rrm_onnx.common import check_content, default_opset, one_line
from rrm_onnx.errors import LoadError

RRM_DOMAIN = "rrm"
OLDEST_OPSET = 7  # before it, broadcasting and several operators had other meanings
LARGEST = 2**31 - 2**20  # bytes of weights: a protobuf message has less than 2 GB, the graph included


def load(model: str | os.PathLike[str] | onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with its external data; the argument is never changed.

    Raises LoadError for anything that is not a valid ONNX model of a known opset, and for an already converted one.
    """
    if isinstance(model, onnx.ModelProto):
        loaded = onnx.ModelProto()
        loaded.CopyFrom(model)
    else:
        loaded = read(Path(model))
    refuse_unusable(loaded)
    check(loaded)
    return loaded


def read(path: Path) -> onnx.ModelProto:
    """Parse a file and its external data."""
    if not path.exists():
        raise LoadError(f"{path}: no such file", hint="check the path")
    if path.is_dir():
        raise LoadError(f"{path}: is a folder, not a file", hint="name the .onnx file in it")
    try:
        content = path.read_bytes()
    except OSError as e:
        raise LoadError(f"{path}: cannot be read: {e.strerror}") from e
    if not content:
        raise LoadError(f"{path}: the file is empty", hint="download or export the model again")
    model = parse(content, path)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as e:
        hint = "put the data file that the export wrote beside the model back into the same folder"
        raise LoadError(f"{path}: external data cannot be read: {one_line(e)}", hint=hint) from e
    return model


def parse(content: bytes, path: Path) -> onnx.ModelProto:
    """Bytes -> ModelProto, with a guess at what else the file may be."""
    start = content[:256].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        hint = "download the file itself (a 'raw' link), not its web page"
        raise LoadError(f"{path}: is a web page, not an ONNX model", hint=hint)
    if start.startswith(b"version https://git-lfs"):
        raise LoadError(f"{path}: is a Git LFS pointer, not the model itself", hint="fetch it with 'git lfs pull'")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as e:
        # The first field of a serialized model is ir_version (tag 0x08) or the producer's name (tag 0x12).
        if content[:1] in (b"\x08", b"\x12"):
            hint = "download or export the model again"
            raise LoadError(f"{path}: the file is truncated or damaged", hint=hint) from e
        raise LoadError(f"{path}: is not an ONNX model", hint="give a file that an ONNX exporter wrote") from e
    if not model.HasField("graph"):
        raise LoadError(
            f"{path}: is not an ONNX model (it has no graph)", hint="give a file that an ONNX exporter wrote"
        )
    return model


def refuse_unusable(model: onnx.ModelProto) -> None:
    """Refuse what parses, but cannot be worked on."""
    if is_converted(model):
        raise LoadError("the model is already converted", hint="convert the original model")
    size = sum(len(t.raw_data) for t in model.graph.initializer)
    if size > LARGEST:
        hint = "split the model, and convert the part that works on images"
        raise LoadError(f"the model has {size / 1e9:.1f} GB of weights, and one ONNX file holds 2 GB", hint=hint)
    if not model.graph.node:
        raise LoadError("the model's graph is empty", hint="export the model again")
    if not model.graph.output:
        raise LoadError("the model has no output", hint="export the model again, and name what it shall give")
    opset = default_opset(model)
    if opset is None:
        raise LoadError("the model does not say which ONNX opset it uses", hint="export the model again")
    if opset > onnx_opset_version():
        hint = f"upgrade onnx (pip install -U onnx), or export with opset {onnx_opset_version()} or older"
        raise LoadError(f"opset {opset} is newer than the installed onnx {onnx.__version__} knows", hint=hint)
    if opset < OLDEST_OPSET:
        hint = "bring it up to date with onnx.version_converter.convert_version, or export it again"
        raise LoadError(f"opset {opset} is too old, {OLDEST_OPSET} is the oldest that is supported", hint=hint)


def is_converted(model: onnx.ModelProto) -> bool:
    """Whether a conversion wrote it: operators of the rrm domain, or the metadata of a model that was left as it is."""
    domains = {o.domain for o in model.opset_import} | {n.domain for n in model.graph.node}
    return RRM_DOMAIN in domains or any(p.key == "rrm.version" for p in model.metadata_props)


def check(model: onnx.ModelProto) -> None:
    """The content checks of onnx.checker, the complaint boiled down to one line."""
    try:
        check_content(model)
    except onnx.checker.ValidationError as e:
        hint = "export the model again; the check is that of onnx.checker.check_model"
        raise LoadError(f"not a valid ONNX model: {one_line(e)}", hint=hint) from e
    except ValueError as e:  # the checker serializes, which protobuf refuses above 2 GiB
        hint = "a file of ONNX holds 2 GiB: convert a smaller model, or the part of it that works on images"
        raise LoadError(f"the model cannot be checked: {one_line(e)}", hint=hint) from e
