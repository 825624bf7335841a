"""The command line: what it writes where, its exit statuses, and one clear message for each kind of bad input."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import re
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small import cnn, pictures, write_clip

from rrm_onnx import bench, doctor, runtime
from rrm_onnx.cli import main
from rrm_onnx.errors import RuntimeMissingError

FRAMES = 5


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """The working folder, with model.onnx and clip.mkv."""
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    onnx.save(cnn(), "model.onnx")
    write_clip(tmp_path / "clip.mkv", pictures(FRAMES))
    return tmp_path


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


# --- convert


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
    gates = [a.f for n in onnx.load("out.onnx").graph.node for a in n.attribute if a.name == "threshold"]
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
    assert {a.f for n in model.graph.node for a in n.attribute if a.name == "threshold"} == {0.5}


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


@edited
def nothing_to_convert(model):
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], "mm")], "g", [], [])
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]))
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]))
    graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"))
    model.graph.CopyFrom(graph)


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
        (nothing_to_convert, "nothing|no ", ""),
        (already_converted, "already converted", "original"),
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


# --- verify and bench


@pytest.fixture
def converted(folder, library, capsys) -> pathlib.Path:
    assert main(["convert", "model.onnx"]) == 0
    capsys.readouterr()
    return folder


def test_verify(converted, capsys):
    assert main(["verify", "model.onnx", "model.rrm.onnx", "--clip", "clip.mkv", "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["ok"] and answer["frames"] == FRAMES and answer["fresh_equal"] and answer["exact"]
    assert "next: rrm-onnx bench model.onnx model.rrm.onnx --clip clip.mkv" in err


def test_verify_repeats_the_clip_options_in_the_next_command(converted, capsys):
    options = ["--start", "1", "--order", "bgr", "--mean", "1,2,3", "--std", "2", "--size", "64x64"]
    assert main(["verify", "model.onnx", "model.rrm.onnx", "--clip", "clip.mkv", *options]) == 0
    shown = "--clip clip.mkv --start 1 --size 64x64 --order bgr --mean 1,2,3 --std 2"
    assert shown in capsys.readouterr().err


def test_verify_of_another_model_fails(converted, capsys):
    onnx.save(cnn(weights_as_inputs=True), "other.onnx")
    model = onnx.load("other.onnx")
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 2, weight.name))
    onnx.save(model, "other.onnx")
    assert main(["verify", "other.onnx", "model.rrm.onnx", "--clip", "clip.mkv"]) == 1
    err = capsys.readouterr().err
    assert "error: output 'y': relative L2" in err
    assert "note: model.rrm.onnx was converted from another model" in err


def test_verify_does_not_warn_of_the_right_model(converted, capsys):
    assert main(["verify", "model.onnx", "model.rrm.onnx", "--clip", "clip.mkv"]) == 0
    assert "note:" not in capsys.readouterr().err


def test_a_size_that_the_network_cannot_take(folder, library, capsys):
    """33 pixels, halved and doubled, are 32: the addition fails while the model runs."""
    model = cnn(size=None)
    model.graph.node.extend(
        [
            helper.make_node("MaxPool", ["y"], ["half"], "half", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Resize", ["half", "", "scales"], ["double"], "double"),
            helper.make_node("Add", ["y", "double"], ["z"], "sum"),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    model.graph.output[0].name = "z"
    onnx.save(model, "open.onnx")
    arguments = ["bench", "open.onnx", "--clip", "clip.mkv", "--size"]
    assert main([*arguments, "64x64"]) == 0
    capsys.readouterr()
    refused(capsys, [*arguments, "66x66"], "the run failed", "rrm-onnx inspect")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ["model.onnx", "model.onnx", "--clip", "clip.mkv"],
            "model.onnx: is not a converted model",
            "rrm-onnx convert",
        ),
        (["model.onnx", "model.rrm.onnx"], "missing option '--clip'", "verify --help"),
        (["model.onnx", "model.rrm.onnx", "--clip", "absent.mp4"], "absent.mp4: no such file", "video"),
        (["model.onnx", "model.rrm.onnx", "--clip", "model.onnx"], "model.onnx: does not decode", "video player"),
        (["model.onnx", "model.rrm.onnx", "--clip", "clip.mkv", "--start", "99"], "no frame in the range", "--start"),
        (["model.onnx", "model.rrm.onnx", "--clip", "clip.mkv", "--size", "32x64"], "width is 64", "64x64"),
        (["model.onnx", "model.rrm.onnx", "--clip", "clip.mkv", "--size", "32"], "not a size", "--help"),
        (["model.onnx", "model.rrm.onnx", "--clip", "clip.mkv", "--mean", "1,2"], "not one number or three", "--help"),
    ],
)
def test_verify_bad_input(folder, capsys, arguments, message, hint):
    assert main(["convert", "model.onnx"]) == 0
    capsys.readouterr()
    refused(capsys, ["verify", *arguments], message, hint)


def test_bench(converted, capsys):
    assert main(["bench", "model.onnx", "model.rrm.onnx", "--clip", "clip.mkv", "--threads", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["frames"] == FRAMES and answer["threads"] == 1 and answer["ratio"] > 0
    assert answer["error"] <= 1e-4 and 0 < answer["macs_share"] < 1
    assert "ms a frame" in err and "next: rrm-onnx inspect model.rrm.onnx" in err


def test_bench_converts_in_memory(folder, library, capsys):
    before = files(folder)
    assert main(["bench", "model.onnx", "--clip", "clip.mkv", "--tolerance", "0.5", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] > 1e-4
    assert files(folder) == before and "next: rrm-onnx convert model.onnx --tolerance 0.5" in err


@pytest.mark.parametrize("option", [["--tolerance", "0.1"], ["--input-shape", "x=1x3x32x32"]])
def test_bench_of_a_converted_model_takes_no_options_of_the_conversion(folder, capsys, option):
    assert main(["convert", "model.onnx"]) == 0
    capsys.readouterr()
    refused(capsys, ["bench", "model.onnx", "model.rrm.onnx", "--clip", "clip.mkv", *option], "already conv", "leave")


def test_bench_of_open_sizes_takes_their_shape(folder, library, capsys, monkeypatch):
    """Both sides get the shape, and so does the clip."""
    seen = []
    compare = bench.compare

    def spy(original, fast, feeds, **others):
        given = list(feeds)
        for model in (original, fast):
            seen.append([d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim])
        seen.append(list(given[0]["x"].shape))
        return compare(original, fast, given, **others)

    monkeypatch.setattr(bench, "compare", spy)
    onnx.save(cnn(size=None), "open.onnx")
    options = ["--input-shape", "x=1x3x32x48", "--tolerance", "0.5"]
    assert main(["bench", "open.onnx", "--clip", "clip.mkv", *options]) == 0
    assert seen == [[1, 3, 32, 48]] * 3
    assert "next: rrm-onnx convert open.onnx --tolerance 0.5 --input-shape x=1x3x32x48" in capsys.readouterr().err


def test_a_clip_is_read_at_the_size_that_the_converted_model_was_given(folder, library, capsys):
    onnx.save(cnn(size=None), "open.onnx")
    assert main(["convert", "open.onnx", "--input-shape", "x=1x3x32x48"]) == 0
    for command in ("verify", "bench"):
        assert main([command, "open.onnx", "open.rrm.onnx", "--clip", "clip.mkv"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", [["convert"], ["inspect"], ["bench", "--clip", "clip.mkv"]])
def test_input_shape_is_the_same_option_everywhere(folder, capsys, command):
    onnx.save(cnn(size=None), "open.onnx")
    given = [*command, "open.onnx", "--input-shape", "x=1x3x32x48", "--input-shape"]
    refused(capsys, [*given, "x=1x3x64x64"], "the shape of 'x' is given twice", "--help")
    refused(capsys, [*given, "y=1x3"], "no input 'y'", "'x'")
    refused(capsys, [*given, "1x3"], "NAME=1x3x480x640", "--help")


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_library_missing(folder, capsys, monkeypatch, command):
    assert main(["convert", "model.onnx"]) == 0
    capsys.readouterr()
    monkeypatch.setenv("RRM_LIBRARY", str(folder / "absent.so"))
    refused(capsys, [command, "model.onnx", "model.rrm.onnx", "--clip", "clip.mkv"], "absent.so", "RRM_LIBRARY")


def test_library_of_another_version(converted, capsys, monkeypatch):
    runtime._load.cache_clear()
    monkeypatch.setattr("rrm_onnx.__version__", "99.0.0")
    refused(
        capsys,
        ["verify", "model.onnx", "model.rrm.onnx", "--clip", "clip.mkv"],
        "of version .+, the package of version 99.0.0",
        "install|RRM_LIBRARY",
    )
    runtime._load.cache_clear()


def test_onnxruntime_missing(folder, capsys, monkeypatch):
    assert main(["convert", "model.onnx"]) == 0  # converting needs no onnxruntime
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    arguments = ["verify", "model.onnx", "model.rrm.onnx", "--clip", "clip.mkv"]
    refused(capsys, arguments, "onnxruntime", re.escape('pip install "rrm_onnx[cpu]"'))


# --- inspect, doctor, and the group


def test_inspect_an_original(folder, capsys):
    assert main(["inspect", "model.onnx", "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["inputs"] == [{"name": "x", "type": "float", "shape": "1 x 3 x 64 x 64"}]
    assert answer["converted"] is False and answer["report"]["nodes_before"] == 5
    assert "next: rrm-onnx convert model.onnx" in err and files(folder) == ["clip.mkv", "model.onnx"]


def test_inspect_repeats_the_shape_in_the_next_command(folder, capsys):
    onnx.save(cnn(size=None), "open.onnx")
    assert main(["inspect", "open.onnx", "--input-shape", "x=1x3x32x48"]) == 0
    assert "next: rrm-onnx convert open.onnx --input-shape x=1x3x32x48" in capsys.readouterr().err


def test_inspect_a_converted_model(folder, capsys):
    assert main(["convert", "model.onnx", "--tolerance", "0.25"]) == 0
    capsys.readouterr()
    assert main(["inspect", "model.rrm.onnx", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["converted"] and not answer["exact"] and answer["operators"] == {"Conv": 3, "Enter": 1, "Exit": 1}
    assert {g["node"]: g["threshold"] for g in answer["gates"]} == dict.fromkeys(
        ["Enter_x", "conv0", "conv1", "conv2"], 0.25
    )


def test_inspect_shows_gates_in_one_line_or_in_a_table(folder, capsys):
    (folder / "t.json").write_text(
        json.dumps(
            {
                "format": "rrm-thresholds",
                "version": 1,
                "model": None,
                "nodes": {"conv1": {"threshold": 0.5, "scale": 2}},
            }
        )
    )
    shown = []
    for options in ([], ["--tolerance", "0.25"], ["--thresholds", "t.json"]):
        assert main(["convert", "model.onnx", *options]) == 0
        capsys.readouterr()
        assert main(["inspect", "model.rrm.onnx"]) == 0
        shown.append(capsys.readouterr().err)
    assert "4 gates, exact" in shown[0] and "4 gates, all with threshold 0.25" in shown[1]
    assert re.search(r"conv1 +0.5 +2\b", shown[2])


def test_inspect_where_there_is_nothing_to_convert(folder, capsys):
    """The hint of `convert` sends people here: the reasons are shown, and it is no error."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Round", ["x"], ["y"], "round")], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "tiny.onnx")
    assert main(["inspect", "tiny.onnx", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "nothing to convert" in err
    assert [d["op_type"] for d in json.loads(out)["report"]["dense"]] == ["Round"]


def test_inspect_says_why_something_stays_dense(folder, capsys):
    assert main(["convert", "model.onnx", "--skip", "conv2"]) == 0
    err = capsys.readouterr().err
    assert "stays dense" in err and "Conv" in err


def test_doctor(library, capsys):
    assert main(["doctor", "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    found = {f["name"]: f for f in answer["findings"]}
    assert answer["ok"] and found["library"]["state"] == "ok" and library in found["library"]["value"]
    assert found["instruction set"]["value"].split()[0] in ("portable", "avx2", "avx512", "neon")
    assert "next: rrm-onnx demo" in err


def test_doctor_says_what_is_missing(capsys, monkeypatch):
    def missing() -> str:
        raise RuntimeMissingError("the library is missing", "install it")

    monkeypatch.setattr(runtime, "library_path", missing)
    assert main(["doctor"]) == 1
    assert "error: converted models do not run here: library\n\nhint: install it\n" in capsys.readouterr().err


def test_doctor_without_onnxruntime(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name.startswith("onnxruntime") else "1")
    assert main(["doctor"]) == 1
    assert 'hint: pip install "rrm_onnx[cpu]"' in capsys.readouterr().err


def test_two_runtimes_at_once_are_a_problem(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(doctor, "_version", lambda name: "1.23.0")
    finding = next(f for f in doctor.examine() if f.name == "onnxruntime")
    assert finding.is_problem and "uninstall both" in (finding.hint or "")


def test_unknown_command_and_no_command(capsys):
    refused(capsys, ["covnert"], "no such command: covnert", "did you mean convert")
    assert main([]) in (0, 2)
    assert "Commands:" in "".join(capsys.readouterr())


@pytest.mark.parametrize("command", ["convert", "verify", "bench", "inspect", "doctor", "demo"])
def test_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"Usage: rrm-onnx {command}" in capsys.readouterr().out


def test_colour_only_where_it_is_wanted(capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["covnert"])
    assert "\x1b[1;31m" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    main(["covnert"])
    assert "31m" not in capsys.readouterr().err


def test_names_with_brackets_are_shown_as_they_are(folder, capsys):
    refused(capsys, ["convert", "[red]x[0].onnx"], re.escape("[red]x[0].onnx: no such file"), "path")
