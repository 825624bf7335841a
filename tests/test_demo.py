"""The demo: the drawn recording, the reading of its outputs, the picture, and the command as a whole."""

from __future__ import annotations

import importlib.util
import itertools
import json
import pathlib

import numpy as np
import onnx
import pytest
from small import cnn, feeds, pictures, write_clip

import rrm_onnx
from rrm_onnx import yardstick
from rrm_onnx.cli import main
from rrm_onnx.demo import picture, screen
from rrm_onnx.demo.model import find_model
from rrm_onnx.demo.show import input_gate
from rrm_onnx.errors import RrmError

Pillow = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def recording():
    return screen.recording()


def changed(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the pixels that differ."""
    return float((a != b).any(-1).mean())


def test_the_recording_is_the_same_every_time(recording):
    assert len(recording) == screen.FRAMES and recording[0].shape == (544, 960, 3) and recording[0].dtype == np.uint8
    again = screen.recording()
    assert all(np.array_equal(a, b) for a, b in zip(recording, again, strict=True))


def test_typing_blinking_scrolling(recording):
    moved = [changed(a, b) for a, b in itertools.pairwise(recording)]
    typing = round(screen.FRAMES * screen.TYPING)
    blinking = typing + round(screen.FRAMES * screen.BLINKING)
    assert 0.3 < np.mean(np.array(moved[: typing - 1]) > 0) <= 1 and max(moved[: typing - 1]) < 0.005
    still = moved[typing : blinking - 1]
    assert 0 < np.count_nonzero(still) < len(still) / 2 and max(still) < 0.001
    assert min(moved[blinking:]) > 0.02


def test_boxes_are_those_of_scipy():
    label = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(3)
    for share in (0.3, 0.5, 0.6):
        mask = label.zoom(rng.random((12, 16)), 6, order=1) < share
        parts, _count = label.label(mask)
        want = set()
        for k, (ys, xs) in enumerate(label.find_objects(parts)):
            if (parts == k + 1).sum() >= picture.SMALLEST:
                want.add((xs.start, ys.start, xs.stop, ys.stop))
        found = picture.boxes(mask)
        assert len(found) == len(want) > 1 and set(found) == want


def test_no_text_no_boxes():
    assert picture.boxes(np.zeros((5, 5), bool)) == []


def test_boxes_grow_as_the_network_shrank_them():
    assert picture.grown((100, 50, 200, 60)) == (93, 43, 207, 67)  # 1.5 * 1000 / 220 = 6.8


@pytest.mark.parametrize("tolerance", [0, 0.05])
def test_the_drawn_gate_is_the_one_of_the_library(library, tolerance):
    converted = rrm_onnx.convert(cnn(), tolerance=tolerance)
    session = yardstick.converted_session(converted)
    rng = np.random.default_rng(4)
    frames = [{"x": f["x"] + rng.normal(0, 3, f["x"].shape).astype(np.float32)} for f in feeds(5)]
    gate = input_gate(converted)
    drawn = [int(gate.changed(f["x"][0].transpose(1, 2, 0)).sum()) for f in frames]
    counted, before = [], 0
    for f in frames:
        session.run(None, f)
        total = next(n["changed"] for n in session.stats()["nodes"] if n["op"] == "Enter")
        counted.append(total - before)
        before = total
    assert drawn[1:] == counted[1:]  # a keyframe does not count as a change
    if tolerance:
        assert 0 < drawn[-1] < 64 * 64  # some are held, some are not, or the test shows nothing


def test_share_changed():
    still = np.zeros((2, 2, 1), np.float32)
    one = still.copy()
    one[0, 1] = 5
    share = picture.share_changed([still, one, one, still, still], picture.InputGate(0.0))
    assert share.tolist() == [[0, 0.5], [0, 0]]


def test_heat_goes_from_blue_to_white_over_the_dimmed_frame():
    share = np.linspace(0, 1, 9, dtype=np.float32)[None]
    colours = picture.heat(share, np.full((1, 9, 3), 100, np.uint8))[0].astype(int)
    assert colours[0].tolist() == [30, 30, 30] and colours[-1].tolist() == [255, 240, 170]
    assert (np.diff(colours[1:, 0]) > 0).all()


def test_without_rapidocr_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RrmError, match="rapidocr") as caught:
        find_model()
    assert caught.value.hint == 'pip install "rrm_onnx[demo]"'


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    onnx.save(cnn(), "net.onnx")
    write_clip(tmp_path / "clip.mkv", pictures(6))
    return tmp_path


def test_own_model_and_clip(folder, library, capsys):
    (folder / "out").mkdir()
    assert main(["demo", "--model", "net.onnx", "--clip", "clip.mkv", "--out", "out", "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["frames"] == 6 and answer["agreement"] is None and answer["ok"] is True
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["net.demo.png", "net.rrm.onnx"]
    assert Pillow.open("out/net.demo.png").size == (2 * 64 + 8, 64 + picture.CAPTION_HEIGHT)
    assert "picture: out/net.demo.png" in err


def test_own_model_on_the_recording(folder, library):
    assert main(["demo", "--model", "net.onnx", "--frames", "4"]) == 0


def test_out_must_exist(folder, capsys):
    assert main(["demo", "--model", "net.onnx", "--out", "nowhere"]) == 2
    assert "error: nowhere/demo: the folder nowhere does not exist" in capsys.readouterr().err


@pytest.fixture
def network() -> pathlib.Path:
    if importlib.util.find_spec("rapidocr") is None:
        pytest.skip("needs rapidocr (extra demo)")
    return find_model()


def test_text_detection(folder, library, network, capsys):
    assert main(["demo", "--frames", "10", "--size", "480x288", "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["agreement"] >= 0.95 and answer["regions"] >= 10 and answer["error"] < 0.1
    assert answer["macs_share"] < 0.6
    assert "detected text agrees" in err and (folder / f"{network.stem}.demo.png").exists()
    assert onnx.load(answer["converted"]).graph.output[0].name == onnx.load(network).graph.output[0].name


def test_the_demo_fails_when_the_text_differs(folder, library, network, capsys, monkeypatch):
    monkeypatch.setattr("rrm_onnx.demo.show.AGREEMENT", 1.1)
    assert main(["demo", "--frames", "3", "--size", "320x192"]) == 1
    assert "error: the detected text agrees to" in capsys.readouterr().err
