"""`rrm-onnx inspect` and `doctor`, and what holds for every command: help, colours, unknown names."""

from __future__ import annotations

import json
import re
import sys

import onnx
import pytest
from commands import files, refused
from onnx import TensorProto, helper
from small import cnn

import rrm_onnx
from rrm_onnx import doctor, runtime
from rrm_onnx.cli import main
from rrm_onnx.errors import RuntimeMissingError


def test_inspect_an_original(folder, capsys):
    assert main(["inspect", "model.onnx", "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["inputs"] == [{"name": "x", "type": "float", "shape": "1 x 3 x 64 x 64"}]
    assert answer["converted"] is False and answer["report"]["nodes_before"] == 5
    (region,) = answer["report"]["regions"]
    assert region["state_bytes"] > 4 * region["border_elements"] and answer["report"]["globals"] == []
    assert "memory for each stream" in err and "k floats that cross" in err and "depend on every site" not in err
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


def test_inspect_shows_turns(folder, capsys):
    held = {"format": "rrm-thresholds", "version": 1, "tolerance": 1e9, "drift": 0.0, "period": 3}
    onnx.save(rrm_onnx.convert(cnn(), thresholds=held), "turns.onnx")
    assert main(["inspect", "turns.onnx", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "in one frame of 3 all thresholds are multiplied by 0\n" in err
    gates = json.loads(out)["gates"]
    assert [(g["drift"], g["period"]) for g in gates if "period" in g] == [(0.0, 3)]


def test_inspect_where_there_is_nothing_to_convert(folder, capsys):
    """The reasons are shown, and it is no error."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Round", ["x"], ["y"], "round")], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "tiny.onnx")
    assert main(["inspect", "tiny.onnx", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "nothing is converted, the model stays as it is: the model has no convolution" in err
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
    assert found["instruction set"]["value"].split()[0] in ("portable", "avx2", "avx512", "amx", "neon")
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
