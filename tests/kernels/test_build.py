"""What the linker and the dispatcher see: symbols, levels, features, the denormal mode."""

import ctypes as ct
import platform
import shutil
import subprocess
from pathlib import Path

import kernel_api
import numpy as np
import pytest

TABLES = {"portable": "kPortable", "avx2": "kAvx2", "avx512": "kAvx512", "amx": "kAmx", "neon": "kNeon"}
ON_X86 = platform.machine() == "x86_64"


def symbols(path: Path) -> list[tuple[str, str]]:
    """(kind, demangled name) of each symbol of an object file."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm not found")
    listing = subprocess.run([nm, "-C", str(path)], check=True, capture_output=True, text=True).stdout
    return [tuple(line[17:].split(" ", 1)) for line in listing.splitlines()]  # type: ignore[misc]


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("name", ["avx2", "avx512", "amx", "portable"] if ON_X86 else ["portable", "neon"])
def test_an_object_defines_its_table_alone(
    library: kernel_api.Library, tmp_path: Path, name: str, optimise: str
) -> None:
    """Weak or global code compiled for one level could be taken by the linker for all: there is none."""
    if optimise == "-O2":
        found = symbols(library.folder / f"target_{name}.o")
    else:
        flags = [optimise if flag == "-O2" else flag for flag in kernel_api.FLAGS]
        found = symbols(kernel_api.object_file(tmp_path, kernel_api.SOURCES / f"target_{name}.cc", flags))
    shared = [(kind, symbol) for kind, symbol in found if kind.upper() == kind and kind != "U"]
    assert [symbol for _, symbol in shared] == [f"rrm::{TABLES[name]}"]
    needed = {symbol for kind, symbol in found if kind == "U"}
    plain_c = {"logf", "memcpy", "memmove", "memset", "powf", "sqrtf"}
    assert needed <= plain_c | {"__popcountdi2", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}


def test_kernels_include_no_library(library: kernel_api.Library) -> None:
    allowed = {"stddef.h", "stdint.h", "string.h", "math.h", "immintrin.h", "emmintrin.h", "xmmintrin.h"}
    allowed |= {"arm_neon.h", "cpuid.h", "sys/syscall.h", "unistd.h"}
    for path in sorted(kernel_api.SOURCES.iterdir()):
        for line in path.read_text().splitlines():
            if line.startswith("#include <"):
                assert line.split("<")[1].rstrip(">") in allowed, f"{path.name}: {line}"


def test_levels(library: kernel_api.Library) -> None:
    names = library.names()
    assert names[-1] == "portable"
    assert set(names) <= set(TABLES)
    for name in names:
        assert library.table(name).name.decode() == name
    with pytest.raises(KeyError):
        library.table("avx1024")
    with pytest.raises(KeyError):
        library.table("")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists() or not ON_X86, reason="reads the flags of /proc/cpuinfo")
def test_features_are_those_of_the_system(library: kernel_api.Library) -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].splitlines()[0].split())
    avx512 = {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq"}
    tiles = {"amx_tile", "amx_bf16"}
    found = set(library.lib.feature_names().decode().split())
    assert found - tiles == flags & (avx512 | {"avx512_bf16"})
    assert found & tiles in (flags & tiles, set())  # the system may refuse their use
    assert ("avx2" in library.names()) == ({"avx2", "fma"} <= flags)
    assert ("avx512" in library.names()) == (avx512 <= flags)
    assert "amx" not in library.names() or avx512 | {"avx512_bf16"} | tiles <= found


def test_flush_denormals(library: kernel_api.Library) -> None:
    """Results and operands below the normal range count as zero while one lives, and not after."""
    tiny = np.finfo(np.float32).tiny
    results = (ct.c_float * 3)()
    for x, y in ((tiny, 0.5), (tiny / 4, 8.0)):  # the result is denormal; an operand is
        library.lib.multiply_flushed(ct.c_float(x), ct.c_float(y), results)
        assert results[0] == results[2] == np.float32(x) * np.float32(y) > 0
        assert results[1] == (0 if ON_X86 or platform.machine() == "aarch64" else results[0])
