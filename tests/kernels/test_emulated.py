"""The levels of AArch64 on an x86-64 machine, under an emulator, where a cross compiler and qemu are installed."""

import platform
import shutil
import subprocess
from pathlib import Path

import kernel_api
import pytest

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"


@pytest.mark.skipif(platform.machine() == "aarch64", reason="the other tests run these levels themselves")
def test_aarch64_levels_agree_with_the_reference(tmp_path: Path) -> None:
    if shutil.which(COMPILER) is None or shutil.which(EMULATOR) is None:
        pytest.skip(f"needs {COMPILER} and {EMULATOR}")
    program = tmp_path / "check_levels"
    names = ["reference", "dispatch", "cpu_features", "target_portable", "target_neon"]
    sources = [kernel_api.SOURCES / f"{name}.cc" for name in names]
    sources.append(kernel_api.HERE / "check_levels.cc")
    command = [COMPILER, *kernel_api.FLAGS, "-static", *map(str, sources), "-o", str(program)]
    kernel_api.run_tool(command)
    done = subprocess.run([EMULATOR, str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.split("\n")[:2] == ["neon: ok", "portable: ok"]
