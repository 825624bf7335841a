"""`rrm-onnx verify` and `bench`: what they print where, and one clear message for each kind of bad input."""

from __future__ import annotations

import json
import pathlib
import re
import sys

import numpy as np
import onnx
import pytest
from commands import FRAMES, files, refused
from onnx import helper, numpy_helper
from small import cnn

from rrm_onnx import bench, runtime
from rrm_onnx.cli import main


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


def test_a_model_that_can_gain_nothing(folder, library, capsys):
    """It is copied, which is no error, and the other commands take the copy."""
    said = "warning: nothing is converted, the model stays as it is: 3 convolutions stay dense, 'conv0' because left"
    assert main(["convert", "model.onnx", "--skip", "Conv", "--json"]) == 0
    out, err = capsys.readouterr()
    assert said in err
    assert json.loads(out)["report"]["unchanged"].startswith("3 convolutions stay dense")
    assert main(["inspect", "model.rrm.onnx"]) == 0
    assert said in capsys.readouterr().err
    for command in ("verify", "bench"):
        assert main([command, "model.onnx", "model.rrm.onnx", "--clip", "clip.mkv"]) == 0
    refused(capsys, ["convert", "model.rrm.onnx"], "already converted", "original")
    refused(capsys, ["convert", "model.onnx", "--skip", "Conv", "--streams"], "nothing to convert", "--streams")


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
