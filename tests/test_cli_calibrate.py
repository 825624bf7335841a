"""`rrm-onnx calibrate`: what it writes where, what it says, and one clear message for each mistake."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import re
import shlex
import sys
from types import SimpleNamespace

import onnx
import pytest
from calibrating import counted_costs  # noqa: F401
from commands import files, refused
from small import cnn, pictures, write_clip

import rrm_onnx
from rrm_onnx.calibrate import run
from rrm_onnx.calibrate.curve import Entry
from rrm_onnx.cli import calibrate as command
from rrm_onnx.cli import main
from rrm_onnx.pack import nodes_of

pytestmark = pytest.mark.usefixtures("library", "counted_costs")
START = ["calibrate", "model.onnx", "--clip", "long.mkv", "--threads", "1"]
L2 = [*START, "--max-error", "0.1"]
BEFORE = ["clip.mkv", "long.mkv", "model.onnx"]
WRITTEN = sorted([*BEFORE, "model.rrm.onnx", "model.thresholds.json"])


@pytest.fixture
def folder(folder: pathlib.Path) -> pathlib.Path:
    """With a network that is fast enough, and a clip that is long enough."""
    onnx.save(cnn(size=32), "model.onnx")
    write_clip(folder / "long.mkv", noisy_pictures(24))
    return folder


def noisy_pictures(count: int):
    import numpy as np

    rng = np.random.default_rng(0)
    still = pictures(count, 32, 32)
    return [np.clip(p + rng.normal(0, 2, p.shape), 0, 255).astype(np.uint8) for p in still]


# --- results ----------------------------------------------------------------------------------------------------------


def test_calibrate_writes_beside_the_input(folder, capsys):
    assert main(L2) == 0
    assert files(folder) == WRITTEN
    out, err = capsys.readouterr()
    assert out == ""
    data = json.loads((folder / "model.thresholds.json").read_text())
    assert data["calibration"]["clips"] == ["long.mkv"] and data["calibration"]["budget"] == 0.1
    assert any(node["threshold"] for node in data["nodes"].values())
    made = onnx.load("model.rrm.onnx")
    again = rrm_onnx.convert("model.onnx", thresholds="model.thresholds.json")
    assert made.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    for word in ("exact", "uniform", "hold", "motion gate"):
        assert word in err
    (chosen,) = (line for line in err.splitlines() if line.rstrip().endswith("chosen"))
    assert re.match(r"\s*calibrated +1 ", chosen)
    assert "model.rrm.onnx and model.thresholds.json are written" in err and "mean error" in err


def test_the_next_command_runs(folder, capsys):
    assert main([*L2, "--mean", "10,20,30", "--order", "bgr"]) == 0
    (shown,) = re.findall("^next: (.+)$", capsys.readouterr().err, re.MULTILINE)
    assert "--mean 10,20,30" in shown and "--order bgr" in shown
    words = shlex.split(shown.replace("OTHER_CLIP", "clip.mkv"))
    assert words[0] == "rrm-onnx" and main(words[1:]) == 0


def test_calibrate_json(folder, capsys):
    assert main([*L2, "-o", "out.onnx", "--thresholds", "t.json", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["converted"] == "out.onnx" and answer["thresholds"] == "t.json"
    saved = json.loads((folder / "t.json").read_text())
    assert {k: answer[k] for k in saved if k != "model"} == {k: v for k, v in saved.items() if k != "model"}
    assert answer["model"] == "model.onnx" and answer["digest"] == saved["model"]
    assert files(folder) == sorted([*BEFORE, "out.onnx", "t.json"])


def test_calibrate_plot(folder, capsys):
    pytest.importorskip("matplotlib")
    from PIL import Image

    assert main([*L2, "--plot", "curve.png"]) == 0
    assert files(folder) == sorted([*WRITTEN, "curve.png"])
    with Image.open("curve.png") as image:
        assert image.format == "PNG" and image.width > 400


def test_several_clips(folder, capsys):
    write_clip(folder / "other.mkv", noisy_pictures(30))
    assert main([*L2, "--clip", "other.mkv", "--frames", "26"]) == 0
    facts = json.loads((folder / "model.thresholds.json").read_text())["calibration"]
    assert facts["clips"] == ["long.mkv", "other.mkv"] and facts["frames"] == 24 + 26


def test_a_function_as_metric(folder, capsys):
    (folder / "mine.py").write_text(
        "import numpy as np\n"
        "def agree(truth, got):\n    return 1 - np.linalg.norm(truth[0] - got[0]) / np.linalg.norm(truth[0])\n"
    )
    assert main([*START, "--metric", "mine.py:agree", "--budget", "0.9", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["calibration"]["metric"] == "mine.py:agree" and "1 - mean agreement" in err


def test_options_reach_the_conversion(folder, capsys):
    onnx.save(cnn(size=None), "open.onnx")
    given = ["calibrate", "open.onnx", *L2[2:], "--input-shape", "x=1x3x32x48", "--skip", "conv2", "--streams"]
    assert main(given) == 0
    model = onnx.load("open.rrm.onnx")
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 32, 48]
    assert "rrm_tolerance" in {t.name for t in model.graph.initializer}
    assert next(n for n in model.graph.node if n.name == "conv2").domain == ""


def test_exact_where_nothing_keeps_to_the_budget(folder, capsys):
    assert main([*START, "--max-error", "1e-9"]) == 0
    err = capsys.readouterr().err
    assert "warning: no thresholds keep to the budget of 1e-09 with a gain: model.rrm.onnx is exact" in err
    (chosen,) = (line for line in err.splitlines() if line.rstrip().endswith("chosen"))
    assert chosen.split()[0] == "exact"
    gates = [a.f for n in nodes_of(onnx.load("model.rrm.onnx")) for a in n.attribute if a.name == "threshold"]
    assert gates and not any(gates)


def test_out_of_time(folder, capsys):
    assert main([*L2, "--minutes", "1e-9"]) == 0
    assert "the search ended early (out of time): this is the best it had" in capsys.readouterr().err


@pytest.mark.parametrize("faster", [True, False])
def test_a_result_that_is_slower_than_the_original_is_told(folder, capsys, monkeypatch, faster):
    found = run.calibrate

    def timed(*given, **more):
        result = found(*given, **more)
        result.facts["original_ms"] = 0.5 if faster else 50.0
        return result

    monkeypatch.setattr(sys.modules["rrm_onnx.calibrate"], "calibrate", timed)
    assert main(L2) == 0
    told = re.findall("^warning: the original is faster: 0.50 ms a frame, .*$", capsys.readouterr().err, re.MULTILINE)
    assert len(told) == faster


def test_warnings_of_the_clip_are_shown(folder, capsys, monkeypatch):
    """Also where the calibration fails: they may say why."""
    content = (folder / "long.mkv").read_bytes()
    (folder / "long.mkv").write_bytes(content[: len(content) * 3 // 4])
    assert main(L2) == 0
    assert "warning: long.mkv" in capsys.readouterr().err
    (folder / "long.mkv").write_bytes(content[: len(content) // 3])
    assert main(L2) == 2
    err = capsys.readouterr().err
    assert "warning: long.mkv" in err and "too short" in err


def test_a_holding_that_only_a_higher_speed_speaks_against_is_marked():
    """Its loss in the table looks as if it were allowed."""
    found = SimpleNamespace(exact=False, facts={"stale": {"speed": 2, "periods": [3, 4]}})
    remark = lambda kind, value: command.remark(found, Entry(kind, value, 0.01, 1.0, 0.5))  # noqa: E731
    assert remark("hold", 2) == remark("calibrated", 2.0) == remark("uniform", 3) == remark("exact", 0.0) == ""
    assert remark("hold", 3) == remark("hold", 4) == "too much is lost at 2 times the speed"
    assert remark("calibrated", 1.0) == "chosen"
    found.exact = True
    assert remark("calibrated", 1.0) == "" and remark("exact", 0.0) == "chosen"


# --- broken off -------------------------------------------------------------------------------------------------------


def stopping(monkeypatch, stage: str, error: BaseException) -> None:
    """Lets a calibration break off when it shows that stage."""
    bars = command.bars

    class Stopping:
        def __enter__(self):
            self.bars = bars()
            inner = self.bars.__enter__()

            def update(now):
                inner(now)
                if now.stage == stage and now.done >= (2 if stage in ("weights", "comparing") else 0):
                    raise error

            return update

        def __exit__(self, *given):
            return self.bars.__exit__(*given)

    monkeypatch.setattr(command, "bars", Stopping)


def test_interrupted_search(folder, capsys, monkeypatch):
    stopping(monkeypatch, "weights", KeyboardInterrupt())
    assert main([*L2, "--plot", "curve.png"] if importable("matplotlib") else L2) == 0
    err = capsys.readouterr().err
    assert "the search ended early (interrupted): this is the best it had" in err and "is exact" not in err
    assert re.search(r"^on frames that were not searched on: loss 0\.0\d+, \d+\.\d\d ms a frame$", err, re.MULTILINE)
    assert files(folder) == WRITTEN
    assert not importable("matplotlib") or "curve.png is not written" in err


def importable(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), rrm_onnx.RrmError("the metric failed", "repair it")])
def test_a_check_that_breaks_off_keeps_the_thresholds(folder, capsys, monkeypatch, error):
    stopping(monkeypatch, "checking", error)
    refused(capsys, L2, "what was found so far is in model.thresholds.json", ".")
    assert files(folder) == sorted([*BEFORE, "model.thresholds.json"])
    assert any(n["threshold"] for n in json.loads((folder / "model.thresholds.json").read_text())["nodes"].values())


@pytest.mark.parametrize("stage", ["recording", "learning"])
def test_interrupted_before_the_search_it_leaves_nothing(folder, capsys, monkeypatch, stage):
    stopping(monkeypatch, stage, KeyboardInterrupt())
    assert main(L2) == 130
    assert capsys.readouterr().err.strip() == "interrupted" and files(folder) == BEFORE


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS])
def test_nothing_half_is_left_when_writing_fails(folder, capsys, monkeypatch, reason):
    (folder / "model.thresholds.json").write_text("from an earlier day")

    def failing(*_):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "fsync", failing)
    before = files(folder)
    assert main(L2) == 2
    assert f"cannot be written: {os.strerror(reason)}" in capsys.readouterr().err
    assert files(folder) == before and (folder / "model.thresholds.json").read_text() == "from an earlier day"


def test_the_thresholds_stand_where_the_model_cannot_be_written(folder, capsys, monkeypatch):
    real = command.write_atomically

    def failing(out, content):
        if out.suffix == ".onnx":
            raise rrm_onnx.RrmError(f"{out}: cannot be written", "choose another place")
        real(out, content)

    monkeypatch.setattr(command, "write_atomically", failing)
    refused(capsys, L2, "model.rrm.onnx: cannot be written", "place")
    assert files(folder) == sorted([*BEFORE, "model.thresholds.json"])


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["model.onnx", "--clip", "long.mkv"], "say the error that you accept: --max-error E", "calibrate --help"),
        (["model.onnx", "--clip", "long.mkv", "--metric", "l2"], "--metric KIND --budget B", "--help"),
        (["model.onnx", "--clip", "long.mkv", "--budget", "0.9"], "--metric KIND --budget B", "--help"),
        ([*L2[1:], "--budget", "0.9"], "--max-error goes without", "--help"),
        ([*START[1:], "--max-error", "0"], "0", "--help"),
        ([*START[1:], "--max-error", "nan"], "a budget of nan for l2", "above 0"),
        ([*START[1:], "--metric", "yolo", "--budget", "0.9"], "no metric is named 'yolo'", "yolox"),
        ([*START[1:], "--metric", "yolox", "--budget", "1.5"], "a budget of 1.5 for yolox", "between 0 and 1"),
        ([*START[1:], "--metric", "mine.py:f", "--budget", "0.9"], "no such file: mine.py", "path"),
        (["model.onnx", "--max-error", "0.1"], "missing option '--clip'", "--help"),
        (["absent.onnx", *L2[2:]], "absent.onnx: no such file", "path"),
        ([*L2[1:], "--clip", "absent.mkv"], "absent.mkv", "."),
        (["model.onnx", "--clip", "clip.mkv", "--max-error", "0.1"], "a clip of 5 frames is too short", "12 frames"),
        ([*L2[1:], "--frames", "9"], "a clip of 9 frames is too short", "12 frames"),
        ([*L2[1:], "--minutes", "0"], "minutes", "--help"),
        ([*L2[1:], "--skip", "conv_2"], "conv_2", "conv2"),
        ([*L2[1:], "--skip", "Conv"], "there is nothing to calibrate", "original"),
        ([*L2[1:], "-o", "model.onnx"], "is the input, a model is never converted in place", "-o"),
        ([*L2[1:], "-o", "nowhere/out.onnx"], "the folder nowhere does not exist", "."),
        ([*L2[1:], "--thresholds", "model.onnx"], "model.onnx: is the input", "--thresholds"),
        ([*L2[1:], "--thresholds", "."], "is a folder", "--thresholds"),
        ([*L2[1:], "--thresholds", "nowhere/t.json"], "the folder nowhere does not exist", "."),
        ([*L2[1:], "--thresholds", "model.rrm.onnx"], "model.rrm.onnx: is what -o writes", "--thresholds"),
        ([*L2[1:], "--plot", "model.thresholds.json"], "is what --thresholds writes", "--plot"),
        ([*L2[1:], "--plot", "model.onnx"], "model.onnx: is the input", "--plot"),
        ([*L2[1:], "--treshold", "t.json"], "no such option: --treshold", "did you mean --thresholds"),
    ],
)
def test_mistakes(folder, capsys, arguments, message, hint):
    refused(capsys, ["calibrate", *arguments], message, hint)
    assert files(folder) == BEFORE


def test_a_plot_without_matplotlib_is_told_before_the_search(folder, capsys, monkeypatch):
    real = command.importlib.util.find_spec
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    refused(capsys, [*L2, "--plot", "curve.png"], "the picture needs matplotlib", "--plot")
    assert files(folder) == BEFORE
