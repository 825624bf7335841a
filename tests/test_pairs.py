"""The script that times pairs of the corpus: its rivals, what it keeps of the ideal, its columns."""

from __future__ import annotations

import json
import pathlib
import sys
import time
import types

import numpy as np
import pytest
from small import cnn, feeds

from rrm_onnx import yardstick

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "bench"))

import alone
import ideals
import rivals
import run_pairs


def arguments(*words: str):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run_pairs.py", "squats", *words])
        return run_pairs.arguments()


@pytest.mark.parametrize("size", [64, None])
def test_openvino_answers_as_the_original(size):
    """None: a model of open size is fixed to that of the frames."""
    pytest.importorskip("openvino")
    model, frames = cnn(size=size), feeds(3)
    rival = rivals.OpenVino(model, frames[0], 1, "f32", False)
    dense = yardstick.dense_session(model, 1)
    for frame in frames:
        assert yardstick.relative_l2(rival.run(["y"], frame)[0], dense.run(["y"], frame)[0]) < 1e-5


def test_a_rival_that_is_not_there_has_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    made, reasons = rivals.available({"a": lambda: rivals.OpenVino(cnn(), feeds(1)[0], 1, "f32", False), "b": list})
    assert made == {"b": []}
    assert reasons == {"a": 'openvino is not installed: pip install ".[bench]"'}
    row = {"rivals": made, "pair": "squats"}
    assert run_pairs.cell("{rivals[a][ms]:.2f}", row) == "-"


def test_what_openvino_refuses_is_a_reason(monkeypatch):
    pytest.importorskip("openvino")
    model = cnn()
    model.graph.node[0].op_type = "NoSuchOperator"
    _, reasons = rivals.available({"a": lambda: rivals.OpenVino(model, feeds(1)[0], 1, "f32", False)})
    assert reasons["a"].startswith("openvino: ") and "\n" not in reasons["a"]


def test_int8_is_near_the_original():
    frames = feeds(4)
    session = rivals.int8_session(cnn(), frames, 1, {})
    error = yardstick.relative_l2(
        session.run(["y"], frames[3])[0], yardstick.dense_session(cnn()).run(["y"], frames[3])[0]
    )
    assert 1e-4 < error < 0.1


def test_int8_that_fails_is_a_reason():
    model = cnn()
    model.graph.node[0].op_type = "NoSuchOperator"
    _, reasons = rivals.available({"a": lambda: rivals.int8_session(model, feeds(2), 1, {})})
    assert reasons["a"].startswith("onnxruntime.quantization: ")


def test_columns_follow_the_arguments():
    names = [name for name, _ in run_pairs.columns_of(arguments())]
    assert names[-3:] == ["OpenVINO ms", "converted : OpenVINO", "OpenVINO error"] and "ideal" not in " ".join(names)
    names = [name for name, _ in run_pairs.columns_of(arguments("--openvino", "none", "--int8", "--ideal"))]
    assert names[-3:] == ["int8 ms", "converted : int8", "int8 error"]
    assert "speed-up / min(20, 1/share)" in names and "OpenVINO ms" not in names
    assert "OpenVINO bf16 error" in [name for name, _ in run_pairs.columns_of(arguments("--openvino", "bf16"))]


def test_a_row_fills_its_columns():
    columns = run_pairs.columns_of(arguments("--ideal"))
    side = {"ms": 2.0, "median_ms": 2.0, "p99_ms": 3.0}
    row = {"pair": "squats", "tolerance": 0.02, "frames": 6, "dense": side, "converted": side, "ratio": 1.0}
    row |= {"cpu_ratio": 1.0, "error": 0.1, "agreement": 1.0, "macs_share": 0.5, "hold2_agreement": 0.9}
    row |= {"ideal": {"recompute": 0.5, "best": 0.25}, "of_ideal": 0.25}
    row |= {"rivals": {"OpenVINO": {"ms": 3.0, "ratio": 1.5, "error": 1e-6}}}
    cells = run_pairs.line(row, columns).split(" | ")
    assert len(cells) == len(columns) and "-" not in cells and cells[-2] == "1.50"


@pytest.mark.parametrize(
    ("ratio", "best", "expected"),
    [(3.0, 0.25, 0.75), (10.0, 0.01, 0.5), (40.0, 0.0, 2.0), (1.0, 1.0, 1.0)],
)
def test_the_ideal_counts_for_at_most_twenty(ratio, best, expected):
    assert ideals.reached(ratio, best) == pytest.approx(expected)


def test_ideals_are_counted_once(tmp_path, monkeypatch):
    counted, prepared = [], []

    class Study:
        def __init__(self, pair, threads):
            prepared.append(pair["name"])  # this alone takes long
            assert threads == 2

        def run(self, tolerance):
            counted.append(tolerance)
            return {"recompute": 0.5, "best": 0.4}

    monkeypatch.setitem(sys.modules, "ideal", types.SimpleNamespace(Study=Study))
    pair, path = {"name": "squats", "frames": 6}, tmp_path / "ideal.json"
    assert ideals.Ideals(path, False, 2).of(pair, [0.0]) == {} and counted == []
    assert ideals.Ideals(path, True, 2).of(pair, [0.0, 0.02])[0.02]["best"] == 0.4
    assert counted == [0.0, 0.02] and len(json.loads(path.read_text())) == 2
    assert set(ideals.Ideals(path, True, 2).of(pair, [0.0, 0.02, 0.05])) == {0.0, 0.02, 0.05}
    assert counted == [0.0, 0.02, 0.05]
    assert len(ideals.Ideals(path, True, 2).of(pair, [0.0, 0.05])) == 2 and len(prepared) == 2
    assert ideals.Ideals(path, False, 2).of(pair | {"frames": 7}, [0.0]) == {}


def test_a_whole_run(corpus, tmp_path, monkeypatch, capsys, library):
    """Two frames of a real pair, in a process that has no openvino."""
    pytest.importorskip("av")
    monkeypatch.setitem(sys.modules, "openvino", None)
    out = tmp_path / "pairs.json"
    words = ["squats", "--frames", "2", "--tolerance", "0.02", "--threads", "1", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["run_pairs.py", *words, "--corpus", str(corpus)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run_pairs.main() == 0
    printed = capsys.readouterr()
    assert "| squats | 0.02 | 2 |" in printed.out and "note: OpenVINO: openvino is not installed" in printed.err
    found = json.loads(out.read_text())
    assert found["machine"]["threads"] == 1 and found["rows"][0]["missing"].keys() == {"OpenVINO"}
    assert np.isfinite(found["rows"][0]["ratio"])


def test_busy_processes_end_with_what_they_are_beside():
    with pytest.raises(KeyError), run_pairs.busy(2) as others:
        time.sleep(0.2)
        assert [other.poll() for other in others] == [None, None]
        raise KeyError
    assert all(other.poll() for other in others)


def test_each_alone(corpus, monkeypatch, capsys, library):
    """In processes of their own: four figures, and their quotients."""
    pytest.importorskip("av")
    words = ["squats", "--frames", "2", "--rounds", "1", "--threads", "1", "--corpus", str(corpus)]
    monkeypatch.setattr(sys, "argv", ["alone.py", *words])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert alone.main() == 0
    name, original, converted, *ratios = capsys.readouterr().out.splitlines()[-1].strip("| ").split(" | ")
    (on, off), (_, own) = ([float(x) for x in both.split(", ")] for both in (original, converted))
    assert name == "squats" and min(on, off, own) > 0
    assert [float(r) for r in ratios] == pytest.approx([off / own, on / own], rel=0.05)
