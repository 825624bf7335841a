"""The amx level without such a processor: tiles in plain code, with portable bodies or those of AVX-512; or the object
that is shipped, whose tile instructions are carried out when they trap."""

import ctypes as ct
import functools
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kernel_api
import pytest

KINDS = ("amx-emulated", "amx-emulated-avx512", "amx-trapped")
NEEDS = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "fma"}


def cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split("flags", 1)[-1].splitlines()[0].split()) if path.exists() else set()


class Emulation(kernel_api.Library):
    """A library of emulated_amx.cc, with what it offers beside the tables."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.lib.amx_works.restype = ct.c_bool
        self.lib.get_features.restype = ct.c_uint32
        if hasattr(self.lib, "kernels_below"):
            self.lib.kernels_below.restype = ct.POINTER(kernel_api.Kernels)

    @property
    def below(self) -> kernel_api.Kernels:
        """The level without the tiles."""
        return self.lib.kernels_below().contents


@functools.cache
def library(kind: str) -> Emulation:
    """Loaded once; skips where it cannot run."""
    if kernel_api.compiler() is None:
        pytest.skip("no C++ compiler found: set CXX to test the kernels")
    if platform.machine() != "x86_64":
        pytest.skip("amx is a level of x86-64")
    if kind != "amx-emulated" and not cpu_flags() >= NEEDS:
        pytest.skip("this machine has no AVX-512 with bf16")
    if kind == "amx-trapped" and "amx_tile" in cpu_flags():
        pytest.skip("this machine has tiles: nothing traps")
    names = dict(zip(KINDS, ("portable", "avx512", "trapped"), strict=True))
    return Emulation(kernel_api.build(names[kind]))


@contextmanager
def running(kind: str) -> Iterator[Emulation]:
    """The library; while this lasts, tile instructions are carried out."""
    found = library(kind)
    if kind == "amx-trapped":
        found.lib.trap_tiles()
    try:
        yield found
    finally:
        if kind == "amx-trapped":
            assert found.lib.untrap_tiles() > 0


@contextmanager
def fresh(kind: str) -> Iterator[Emulation]:
    """A second copy of the library, which has not yet looked which levels there are."""
    with tempfile.TemporaryDirectory(prefix="rrm_kernels_") as folder:
        (Path(folder) / "kernels.so").write_bytes((library(kind).folder / "kernels.so").read_bytes())
        yield Emulation(Path(folder))
