"""check_levels.cc: every level against the reference, over random sizes, in a program of its own.

On the machine itself, and for AArch64 in an emulator: from PyPI (ziglang, unicorn), or a cross compiler and qemu where
they are installed.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import kernel_api
import pytest

ON_EVERY = ["reference", "dispatch", "cpu_features", "target_portable"]
ZIG = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-musl"]
CROSS, QEMU = "aarch64-linux-gnu-g++", "qemu-aarch64"


def compiled(compiler: list[str], names: list[str], program: Path) -> Path:
    sources = [str(kernel_api.SOURCES / f"{name}.cc") for name in names]
    command = [*compiler, *kernel_api.FLAGS, *sources, str(kernel_api.HERE / "check_levels.cc"), "-o", str(program)]
    kernel_api.run_tool(command)
    return program


def emulated(folder: Path) -> str:
    """What the program prints on AArch64."""
    names = [*ON_EVERY, "target_neon"]
    if importlib.util.find_spec("ziglang") and importlib.util.find_spec("unicorn"):
        from aarch64 import Machine

        machine = Machine(compiled([*ZIG, "-static"], names, folder / "check_levels").read_bytes())
        assert machine.run() in (0, 1)
        return machine.printed.decode()
    if shutil.which(CROSS) is None or shutil.which(QEMU) is None:
        pytest.skip(f"needs ziglang and unicorn from PyPI, or {CROSS} and {QEMU}")
    program = compiled([CROSS, "-static"], names, folder / "check_levels")
    return subprocess.run([QEMU, str(program)], capture_output=True, text=True, check=False).stdout


@pytest.mark.skipif(platform.machine() == "aarch64", reason="the other tests run these levels themselves")
def test_aarch64_levels_agree_with_the_reference(tmp_path: Path) -> None:
    assert emulated(tmp_path).splitlines() == ["neon: ok", "portable: ok"]


def test_levels_of_this_machine_agree_with_the_reference(tmp_path: Path) -> None:
    """Else the program would be known to compile only where there is an emulator."""
    if kernel_api.compiler() is None:
        pytest.skip("no C++ compiler found: set CXX to test the kernels")
    names = kernel_api.Library(kernel_api.build()).names()
    if "amx" in names:
        pytest.skip("amx rounds otherwise: test_amx.py")
    program = tmp_path / "check_levels"
    main = kernel_api.object_file(tmp_path, kernel_api.HERE / "check_levels.cc", kernel_api.FLAGS)
    others = [o for o in kernel_api.build().glob("*.o") if o.stem != "driver"]
    kernel_api.run_tool([str(kernel_api.compiler()), str(main), *map(str, others), "-o", str(program)])
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"{name}: ok" for name in names]
