"""The README's promises: its code runs as printed, its commands work, and what it names exists. Samples run too."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import runpy
import shlex
import tomllib

import numpy as np
import onnx
import pytest
from calibrating import counted_costs  # noqa: F401
from native import rounding
from onnx import TensorProto, helper, numpy_helper
from small import cnn, feeds, pictures, write_clip

import rrm_onnx
from rrm_onnx.cli import main

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("samples/*/README.md")]
SAMPLES = sorted(ROOT.glob("samples/*/run.py"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def detector() -> onnx.ModelProto:
    """`cnn` with YOLOX's outputs in place of its last convolution: y (1, cells of strides 8, 16 and 32, 6)."""
    model, rng = cnn(), np.random.default_rng(0)
    graph = model.graph
    del graph.node[-1]
    for stride in (4, 8, 16):  # of a map of half the picture's size
        weights = rng.normal(0, 0.1, (6, 16, 3, 3)).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(weights, f"v{stride}"))
        w, h, p, f = (f"{kind}{stride}" for kind in ("v", "head", "scores", "flat"))
        graph.node.append(helper.make_node("Conv", ["r1", w], [h], h, pads=[1] * 4, strides=[stride] * 2))
        graph.node.append(helper.make_node("Sigmoid", [h], [p], p))
        graph.node.append(helper.make_node("Reshape", [p, "rows"], [f], f))
    graph.initializer.append(numpy_helper.from_array(np.array([1, 6, -1]), "rows"))
    graph.node.append(helper.make_node("Concat", ["flat4", "flat8", "flat16"], ["all"], "all", axis=2))
    graph.node.append(helper.make_node("Transpose", ["all"], ["y"], "last", perm=[0, 2, 1]))
    graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 84, 6]))
    return model


@pytest.fixture
def folder(tmp_path, monkeypatch, counted_costs) -> pathlib.Path:  # noqa: F811
    """Where the reader stands: model.onnx, a detector with an input x, and clips."""
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    onnx.save(detector(), "model.onnx")
    for name in ("clip", "other", "day", "night"):
        write_clip(tmp_path / f"{name}.mkv", pictures(12)).rename(f"{name}.mp4")
    return tmp_path


def test_the_commands_run_in_order(folder, library):
    commands = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line]
    order = "calibrate bench convert verify bench calibrate calibrate".split()
    assert [c[:2] for c in commands] == [["rrm-onnx", name] for name in order]
    for command in commands:
        if "--plot" in command and importlib.util.find_spec("matplotlib") is None:
            command = command[: command.index("--plot")]
        assert main(command[1:]) == 0, command


def test_the_python_blocks_run_in_order(folder, library, capsys):
    assert main(["convert", "model.onnx", "--tolerance", "0.02"]) == 0
    names = {"frames": [f["x"] for f in feeds(4)], "np": np, "rrm_onnx": rrm_onnx}
    assert len(blocks("python")) >= 3
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "% of a dense network's work" in out and "True {'y': " in out


def test_the_first_command(folder, library):
    assert 'pip install ".[demo]" && rrm-onnx demo' in README
    if importlib.util.find_spec("rapidocr") is None:
        pytest.skip("needs rapidocr (extra demo)")
    assert main(["demo", "--frames", "4", "--size", "320x192"]) == 0


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_extras_and_options_and_links_exist(path, capsys):
    text = path.read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for named in re.findall(r"\.\[([\w,]+)\]", text):
        assert set(named.split(",")) <= set(extras), named
    help_texts = ""
    for command in ("convert", "calibrate", "verify", "bench", "inspect", "doctor", "demo"):
        assert main([command, "--help"]) == 0
        help_texts += capsys.readouterr().out
    bench = ROOT / "tests" / "bench"
    scripts = [bench / "run_pairs.py", bench / "run_calibrated.py", ROOT / "tests" / "soak.py"]
    ours = "".join(script.read_text(encoding="utf-8") for script in scripts)
    for option in re.findall(r"(?<![\w-])--[a-z][\w-]+", text):
        assert option in help_texts or f'"{option}"' in ours, f"no such option: {option}"
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (path.parent / link).exists(), f"no such file: {link}"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.parent.name)
def test_samples_run(path, library, capsys):
    assert (path.parent / "README.md").exists()
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


def test_the_sample_shows_what_it_says(library, capsys):
    """Noise: everything is computed in exact mode, little with a tolerance."""
    runpy.run_path(str(ROOT / "samples" / "01_python_api" / "run.py"), run_name="__main__")
    exact, held = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert exact[1] == "100.0%" and float(held[1].rstrip("%")) < 10
    assert float(exact[2]) < rounding()
    assert 1e-5 < float(held[2]) < 0.02
