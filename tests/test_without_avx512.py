"""tests/bench/without_avx512.py: answers of the processor to onnxruntime are changed, the program runs to its end."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
SCRIPT = Path(__file__).parent / "bench" / "without_avx512.py"
PROGRAM = "import onnxruntime, sys; print('ran', sys.argv[1])"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="cpuid is an instruction of x86-64")
def test_answers_are_changed() -> None:
    if shutil.which("gdb") is None or shutil.which("objdump") is None:
        pytest.skip("needs gdb and objdump")
    asked = ["gdb", "-batch", "-x", str(SCRIPT), "--args", sys.executable, "-c", PROGRAM, "to its end"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False)
    if "Python scripting is not supported" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("this gdb has no Python, or may not trace")
    assert "ran to its end" in done.stdout, done.stderr[-2000:]
    changed = re.search(r"(\d+) answers of the processor were changed", done.stdout)
    assert changed is not None, done.stderr[-2000:]
    assert int(changed[1]) > 0
