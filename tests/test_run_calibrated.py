"""The script that calibrates pairs of the corpus: what it keeps, and what it says of a long run."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "bench"))

import run_calibrated

from rrm_onnx.errors import RrmError


def test_a_clip_forth_and_back():
    assert list(run_calibrated.forth_and_back("abcd", 10)) == list("abcdcbabcd")
    assert list(run_calibrated.forth_and_back("ab", 5)) == list("ababa")
    assert list(run_calibrated.forth_and_back("abcd", 3)) == list("abc")


@pytest.mark.parametrize(
    ("drift", "period", "words"),
    [(1.0, 1, "-"), (0.25, 4, "0.25 every 4"), (0.0, 3, "hold 3"), (1e-9, 2, "every 2")],
)
def test_turns_in_words(drift, period, words):
    nodes = {"conv": {"threshold": 0.1 / drift if drift else 1e9}}
    assert run_calibrated.turns({"drift": drift, "period": period, "nodes": nodes}) == words


def run(corpus, monkeypatch, folder: pathlib.Path, *words: str) -> dict:
    out = folder / "calibrated.json"
    given = ["squats", "--frames", "26", "--threads", "1", "--minutes", "1e-9", "--keep", str(folder / "kept")]
    monkeypatch.setattr(sys, "argv", ["run_calibrated.py", *given, "--json", str(out), "--corpus", str(corpus), *words])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run_calibrated.main() == 0
    return json.loads(out.read_text())["rows"][0]


def test_kept_thresholds_are_measured_without_a_search(corpus, tmp_path, monkeypatch, capsys, library):
    """And so are their 99th percentiles over a long run, where they are asked for."""
    pytest.importorskip("av")
    first = run(corpus, monkeypatch, tmp_path)
    assert first["frames"] == 13 and first["long"] is None and first["facts"]["stopped"] == "out of time"

    def searched(*_given, **_more):
        raise AssertionError("a search was begun")

    monkeypatch.setattr(run_calibrated, "calibrate", searched)
    kept = json.loads((tmp_path / "kept" / "squats.json").read_text())
    kept["nodes"] = {name: node | {"threshold": 0.05} for name, node in kept["nodes"].items()}
    (tmp_path / "kept" / "squats.json").write_text(json.dumps(kept))
    again = run(corpus, monkeypatch, tmp_path, "--long", "40")
    assert again["macs_share"] < first["macs_share"] and again["facts"] == first["facts"]
    long = again["long"]
    assert long["frames"] == 40 and long["ratio"] == pytest.approx(long["converted"] / long["dense"])
    assert f"{long['ratio']:.2f} |" in capsys.readouterr().out.splitlines()[-1]


def test_a_pair_that_cannot_be_calibrated_does_not_end_the_others(corpus, tmp_path, monkeypatch, capsys, library):
    seen = []

    def measured(pair, _given):
        seen.append(pair.name)
        raise RrmError("there is nothing to calibrate", "run the original")

    monkeypatch.setattr(run_calibrated, "measure", measured)
    monkeypatch.setattr(sys, "argv", ["run_calibrated.py", "squats", "signing-pose", "--corpus", str(corpus)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run_calibrated.main() == 1 and seen == ["squats", "signing-pose"]
    err = capsys.readouterr().err
    assert "error: squats: there is nothing to calibrate\n\nhint: run the original\n" in err


def test_kept_thresholds_of_other_frames_are_not_measured(corpus, tmp_path, monkeypatch, capsys, library):
    """They may have been searched on what is to be measured on."""
    pytest.importorskip("av")
    run(corpus, monkeypatch, tmp_path)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--frames", "13"])
    assert run_calibrated.main() == 1
    assert "of other frames" in capsys.readouterr().err


def test_openvino_is_timed_or_its_absence_told(corpus, tmp_path, monkeypatch, capsys, library):
    pytest.importorskip("av")
    row = run(corpus, monkeypatch, tmp_path, "--openvino")
    said = capsys.readouterr()
    assert "converted : OpenVINO" in said.out
    if importlib.util.find_spec("openvino") is None:
        assert "rivals" not in row and "note: OpenVINO: openvino is not installed" in said.err
    else:
        assert row["rivals"]["OpenVINO"]["ratio"] > 0 and not row["missing"]
