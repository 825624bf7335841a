"""The kernels' instruction counts against the baseline (counts.py), and the counting itself."""

import json
import re
from pathlib import Path

import counts
import kernel_api
import pytest


@pytest.fixture(scope="module")
def driver(library: kernel_api.Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counts.build(library.folder, tmp_path_factory.mktemp("counts"))


def test_counts_do_not_grow(driver: Path, level: kernel_api.Kernels) -> None:
    name = level.name.decode()
    if name not in counts.LEVELS:
        pytest.skip(f"valgrind does not run {name}")
    baseline = counts.load().get(counts.compiler_name(), {}).get(name)
    if baseline is None:
        pytest.skip(f"no baseline for {counts.compiler_name()}: python tests/kernels/counts.py --update adds it")
    try:
        now = counts.count(driver, name)
    except counts.Unavailable as reason:
        pytest.skip(str(reason))
    growth = counts.grown(now, baseline)
    assert not growth, "\n".join([*growth, "if it is worth it: python tests/kernels/counts.py --update"])


def test_every_kernel_is_counted() -> None:
    table = (kernel_api.SOURCES / "table.h").read_text()
    kernels = re.findall(r"\(\*(\w+)\)\(", table)
    source = (counts.HERE / "counts.cc").read_text()
    cases = re.findall(r"COUNT\((\w+),", source)
    missing = [k for k in kernels if not any(c == k or c.startswith(f"{k}_") for c in cases)]
    assert missing == ["gemm_packed_floats"]  # a formula
    for levels in counts.load().values():
        assert all(set(found) == set(cases) for found in levels.values())


def test_a_function_counts_with_what_it_calls() -> None:
    text = """version: 1
events: Ir
ob=/tmp/counts
fl=???
fn=main
0 5
cfn=count_gemm
calls=1 0
0 130

fn=count_gemm
0 20
cob=/lib/libc.so
cfn=memcpy
calls=2 0
0 100
0 10
fn=rrm::Gemm(rrm::GemmArgs const&)
0 77
fn=count_add
12 3
totals: 200"""
    assert counts.inclusive(text.splitlines()) == {"gemm": 130, "add": 3}


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ({"a": 103, "b": 50}, []),
        ({"a": 104, "b": 100}, ["a: 100 -> 104 instructions (+4.0%)"]),
        ({"a": 100}, ["b: is in the baseline only"]),
        ({"a": 100, "b": 100, "c": 1}, ["c: has no baseline"]),
    ],
)
def test_growth_beyond_the_allowance_is_told(now: dict[str, int], found: list[str]) -> None:
    assert counts.grown(now, {"a": 100, "b": 100}) == found


def test_the_compiler_is_named_with_its_version() -> None:
    if kernel_api.compiler() is None:
        pytest.skip("no C++ compiler found")
    assert re.fullmatch(r"(gcc|clang) \d+\.\d+\.\d+, \w+", counts.compiler_name())
    assert all(re.fullmatch(r"(gcc|clang) \d+\.\d+\.\d+, \w+", key) for key in counts.load())


def test_without_valgrind_there_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(counts.shutil, "which", lambda _: None)
    with pytest.raises(counts.Unavailable, match="valgrind is not installed"):
        counts.count(tmp_path / "counts", "avx2")


def test_the_baseline_is_kept_as_it_is_written() -> None:
    text = counts.BASELINE.read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
