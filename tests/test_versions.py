"""One library and one converted file serve every onnxruntime from 1.17 on.

Models are converted here; then each runtime, alone in a virtual environment with nothing but numpy, loads library and
models, and its answers are compared with those of the runtime that converted them.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnx
import pytest
from toys import TOYS, toy_frames

import rrm_onnx

RUNTIMES = {"1.17.3": "numpy<2", "1.23.2": "numpy", "": "numpy"}
# The toys have no dense part that an older runtime might round differently, so the answers are the same bits.
SCRIPT = """
import sys
import numpy as np, onnxruntime as ort
library, folder = sys.argv[1:]
import pathlib
for path in sorted(pathlib.Path(folder).glob("*.onnx")):
    options = ort.SessionOptions()
    options.register_custom_ops_library(library)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    data = np.load(str(path)[:-5] + ".npz")
    for t in range(sum(k.startswith("in") for k in data.files)):
        got = session.run(None, {session.get_inputs()[0].name: data[f"in{t}"]})[0]
        assert got.tobytes() == data[f"out{t}"].tobytes(), (path.name, t)
print("ok", ort.__version__)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, library: str) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    for toy, tolerance in itertools.product(TOYS, (0, 0.02)):
        name, frames = f"{toy.name}-{tolerance}", toy_frames(toy)
        onnx.save(rrm_onnx.convert(toy.build(), tolerance=tolerance), folder / f"{name}.onnx")
        session = rrm_onnx.InferenceSession(str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"])
        feed = session.get_inputs()[0].name
        arrays = {f"in{t}": x for t, x in enumerate(frames)}
        arrays |= {f"out{t}": session.run(None, {feed: x})[0] for t, x in enumerate(frames)}
        np.savez(folder / f"{name}.npz", **arrays)
    return folder


@pytest.mark.parametrize("version", RUNTIMES)
def test_runtime(version: str, models: Path, library: str, tmp_path: Path) -> None:
    if version == "1.17.3" and sys.version_info >= (3, 13):
        pytest.skip("onnxruntime 1.17 has no wheel for this Python")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    wanted = f"onnxruntime=={version}" if version else "onnxruntime"
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted, RUNTIMES[version]]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot install {wanted}: {done.stderr.strip().splitlines()[-1]}")
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = [python, "-c", SCRIPT, library, models]
    done = subprocess.run(run, capture_output=True, text=True, env=clean, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"ok {version}")
