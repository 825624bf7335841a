"""Fixtures of the kernel tests: the library, built once, and every level of this machine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kernel_api


@pytest.fixture(scope="session")
def library() -> kernel_api.Library:
    if kernel_api.compiler() is None:
        pytest.skip("no C++ compiler found: set CXX to test the kernels")
    return kernel_api.Library(kernel_api.build())


@pytest.fixture(scope="session")
def reference(library: kernel_api.Library) -> kernel_api.Kernels:
    return library.table("reference")


@pytest.fixture(scope="session", params=kernel_api.TESTED)
def level(request: pytest.FixtureRequest, library: kernel_api.Library) -> kernel_api.Kernels:
    if request.param not in library.names():
        pytest.skip(f"this machine has no {request.param}")
    return library.table(request.param)
