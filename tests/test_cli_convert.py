"""`rrm-onnx convert`: what it writes where, and one clear message for each kind of bad input."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import onnx
import pytest
from commands import files, refused
from onnx import TensorProto, helper, numpy_helper
from small import cnn

from rrm_onnx.cli import main
from rrm_onnx.pack import nodes_of


def test_convert_writes_beside_the_input(folder, capsys):
    assert main(["convert", "model.onnx"]) == 0
    assert files(folder) == ["clip.mkv", "model.onnx", "model.rrm.onnx"]
    assert any(n.domain == "rrm" for n in onnx.load("model.rrm.onnx").graph.node)
    out, err = capsys.readouterr()
    assert out == "" and "next: rrm-onnx verify model.onnx model.rrm.onnx --clip CLIP" in err


def test_convert_json(folder, capsys):
    assert main(["convert", "model.onnx", "-o", "out.onnx", "--tolerance", "0.02", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["converted"] == "out.onnx" and answer["report"]["nodes_dense"] == 0
    gates = [a.f for n in nodes_of(onnx.load("out.onnx")) for a in n.attribute if a.name == "threshold"]
    assert gates and set(gates) == {np.float32(0.02)}


def test_convert_passes_its_options_on(folder, capsys):
    onnx.save(cnn(size=None), "open.onnx")
    (folder / "thresholds.json").write_text(
        json.dumps({"format": "rrm-thresholds", "version": 1, "model": None, "tolerance": 0.5, "nodes": {}})
    )
    arguments = ["--thresholds", "thresholds.json", "--skip", "conv2", "--input-shape", "x=1x3x32x48", "--streams"]
    assert main(["convert", "open.onnx", *arguments]) == 0
    model = onnx.load("open.rrm.onnx")
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 32, 48]
    assert "rrm_stream" in {t.name for t in model.graph.initializer}
    conv2 = next(n for n in model.graph.node if n.name == "conv2")
    assert conv2.domain == ""
    assert {a.f for n in nodes_of(model) for a in n.attribute if a.name == "threshold"} == {0.5}


def test_convert_writes_regions_unless_told_otherwise(folder, capsys):
    assert main(["convert", "model.onnx"]) == 0 and main(["convert", "model.onnx", "--flat", "-o", "flat.onnx"]) == 0
    packed, flat = onnx.load("model.rrm.onnx"), onnx.load("flat.onnx")
    assert [n.op_type for n in packed.graph.node] == ["Region"]
    assert [n.op_type for n in flat.graph.node] == ["Enter", "Conv", "Conv", "Conv", "Exit"]
    assert nodes_of(packed) == list(flat.graph.node)


def test_permissions_are_the_usual_ones(folder):
    assert main(["convert", "model.onnx"]) == 0
    assert (folder / "model.rrm.onnx").stat().st_mode == (folder / "model.onnx").stat().st_mode


def not_onnx(model: bytes) -> bytes:
    return b"This is a text, and no model at all."


def truncated(model: bytes) -> bytes:
    return model[: len(model) // 2]


def edited(change):
    def edit(model: bytes) -> bytes:
        proto = onnx.ModelProto.FromString(model)
        change(proto)
        return proto.SerializeToString()

    return edit


@edited
def external_data_missing(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", "offset": "0", "length": "864"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


@edited
def unknown_opset(model):
    model.opset_import[0].version = 999


def nothing_to_convert(model):
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], "mm")], "g", [], [])
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]))
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]))
    graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"))
    model.graph.CopyFrom(graph)


@edited
def nothing_converted_before(model):
    import rrm_onnx

    nothing_to_convert(model)
    with pytest.warns(UserWarning):
        model.CopyFrom(rrm_onnx.convert(model))


@edited
def already_converted(model):
    import rrm_onnx

    model.CopyFrom(rrm_onnx.convert(model))


@pytest.mark.parametrize(
    ("spoil", "message", "hint"),
    [
        (not_onnx, "bad.onnx: is not an ONNX model", "exporter"),
        (truncated, "truncated", "again"),
        (external_data_missing, "external data", "data file"),
        (unknown_opset, "opset 999", "upgrade onnx"),
        (already_converted, "already converted", "original"),
        (nothing_converted_before, "already converted", "original"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_convert_bad_models(folder, capsys, spoil, message, hint):
    content = spoil((folder / "model.onnx").read_bytes()) if callable(spoil) else spoil
    (folder / "bad.onnx").write_bytes(content)
    before = files(folder)
    refused(capsys, ["convert", "bad.onnx"], message, hint)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["absent.onnx"], "absent.onnx: no such file", "path"),
        (["model.onnx", "-o", "model.onnx"], "is the input, a model is never converted in place", "-o"),
        (["model.onnx", "-o", "."], "is a folder", "-o model.rrm.onnx"),
        (["model.onnx", "-o", "nowhere/out.onnx"], "the folder nowhere does not exist", "-o"),
        (["model.onnx", "--skip", "conv_2"], "conv_2", "conv2"),
        (["model.onnx", "--tolerance", "-1"], "tolerance", "--help"),
        (["model.onnx", "--input-shape", "1x3x64x64"], "NAME=1x3x480x640", "--help"),
        (["model.onnx", "--input-shape", "x=1x3x0x64"], "NAME=1x3x480x640", "--help"),
        (["model.onnx", "--input-shape", "x=-1x3x64x64"], "NAME=1x3x480x640", "--help"),
        (["model.onnx", "--input-shape", "x=1x3x64.0x64"], "NAME=1x3x480x640", "--help"),
        (["model.onnx", "--input-shape", "x=NxCxHxW"], "NAME=1x3x480x640", "--help"),
        (["model.onnx", "--input-shape", "x=1x3x9999999999x64"], "holds 9999999999, which is no size", "whole number"),
        (["model.onnx", "--input-shape", "x=1x3x64"], "does not fit the declared", "all 4 dimensions"),
        (["model.onnx", "--input-shape", "x=1x3x64x32"], "does not fit the declared", "fixed: leave it out"),
        (["model.onnx", "--input-shape", "y=1x3x64x64"], "no input 'y'", "known: 'x'"),
        (["model.onnx", "--thresholds", "absent.json"], "absent.json", ""),
        (["model.onnx", "--tolerence", "1"], "no such option: --tolerence", "did you mean --tolerance"),
        ([], "missing argument", "convert --help"),
    ],
)
def test_convert_bad_arguments(folder, capsys, arguments, message, hint):
    before = files(folder)
    refused(capsys, ["convert", *arguments], message, hint)
    assert files(folder) == before


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_convert_leaves_nothing_behind_when_writing_fails(folder, capsys, monkeypatch, reason, where):
    (folder / "model.rrm.onnx").write_text("from an earlier day")

    def failing(*_):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, where, failing)
    before = files(folder)
    refused(capsys, ["convert", "model.onnx"], f"cannot be written: {os.strerror(reason)}", "MB are needed")
    assert files(folder) == before and (folder / "model.rrm.onnx").read_text() == "from an earlier day"


def test_convert_into_a_folder_that_is_not_writable(folder, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # permission bits do not stop root
    refused(capsys, ["convert", "model.onnx"], "not writable", "-o")


def test_interrupted(folder, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert main(["convert", "model.onnx"]) == 130
    assert files(folder) == ["clip.mkv", "model.onnx"]
