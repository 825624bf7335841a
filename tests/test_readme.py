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
from native import rounding
from small import cnn, feeds, pictures, write_clip

from rrm_onnx.cli import main

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("samples/*/README.md")]
SAMPLES = sorted(ROOT.glob("samples/*/run.py"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """Where the reader stands: model.onnx with an input x, and clip.mp4."""
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    onnx.save(cnn(), "model.onnx")
    write_clip(tmp_path / "clip.mkv", pictures(4)).rename("clip.mp4")
    return tmp_path


def test_the_commands_run_in_order(folder, library):
    commands = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line]
    assert [c[:2] for c in commands] == [["rrm-onnx", name] for name in ("convert", "verify", "bench")]
    for command in commands:
        assert main(command[1:]) == 0, command


def test_the_python_blocks_run_in_order(folder, library, capsys):
    assert main(["convert", "model.onnx", "--tolerance", "0.02"]) == 0
    names = {"frames": [f["x"] for f in feeds(4)], "np": np}
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
    for command in ("convert", "verify", "bench", "inspect", "doctor", "demo"):
        assert main([command, "--help"]) == 0
        help_texts += capsys.readouterr().out
    scripts = [ROOT / "tests" / "bench" / "run_pairs.py", ROOT / "tests" / "soak.py"]
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
