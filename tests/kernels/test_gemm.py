"""gemm: values, equal bits whatever the call, nothing touched outside the stated ranges."""

from collections.abc import Iterator

import emulations
import kernel_api
import numpy as np
import pytest
from guarded import address, gaps_untouched, guarded, rows_of, same_bits, spaced
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_api import GemmArgs, Kernels

WIDTHS = [1, 3, 7, 8, 15, 16, 17, 24, 31, 33, 48, 63, 64, 65, 80, 100, 129, 255]
SITES = [1, 2, 3, 5, 7, 11, 13, 23, 24, 25, 49]


@pytest.fixture(scope="session", params=[*kernel_api.TESTED, *emulations.KINDS])
def level(request: pytest.FixtureRequest, library: kernel_api.Library) -> Iterator[Kernels]:
    """Every level of this machine, and amx with tiles in plain code."""
    if request.param in emulations.KINDS:
        with emulations.running(request.param) as emulated:
            yield emulated.table("amx")
        return
    if request.param not in library.names():
        pytest.skip(f"this machine has no {request.param}")
    yield library.table(request.param)


def pack(table: Kernels, w: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The level's packed weights, in memory that ends where the level says."""
    k, n = w.shape
    packed = guarded(np.zeros(table.gemm_packed_floats(k, n), np.float32))
    w, bias = guarded(w), guarded(bias)
    table.gemm_pack(address(w), k, n, address(bias), address(packed))
    return packed


def run(
    table: Kernels,
    pieces: list[np.ndarray],
    sites: np.ndarray,
    packed: np.ndarray,
    n: int,
    stride: int | None = None,
) -> np.ndarray:
    """Output rows [len(sites), n] for the given sites of pieces [all sites, length]."""
    m, k = len(sites), sum(piece.shape[1] for piece in pieces)
    rows = guarded(np.array([[piece[site].ctypes.data for site in sites] for piece in pieces], np.uint64))
    lens = guarded(np.array([piece.shape[1] for piece in pieces], np.int32))
    stride = stride or n
    out = guarded(spaced(np.full((m, n), np.nan, np.float32), stride), shift=1)
    where = address(rows), m, address(lens), len(pieces), m
    # fetches: the table of rows ends where memory does, and no row beyond it may be asked for.
    table.gemm(GemmArgs(*where, address(packed), k, n, address(out), stride, None, True))
    assert gaps_untouched(out, m, n, stride)
    return rows_of(out, m, n, stride).copy()


def case(seed: int, sites: int, lens: list[int], n: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    pieces = [guarded(rng.standard_normal((sites, length), np.float32), shift=seed % 4) for length in lens]
    return pieces, rng.standard_normal((sum(lens), n), np.float32), rng.standard_normal(n, np.float32)


def check_close(level: Kernels, out: np.ndarray, pieces: list[np.ndarray], w: np.ndarray, bias: np.ndarray) -> None:
    """Against NumPy in double; the bound is that of a sum of k rounded products.

    amx: of 3 k products, and of what splitting loses: 2^-17 of either factor, and the product of the lower parts, at
    most 2^-16 of the product.
    """
    a = np.concatenate(pieces, axis=1).astype(np.float64)
    k = w.shape[0]
    unit = 3 * (k + 2) * 2.0**-24 + 2.0**-15 if level.name == b"amx" else (k + 2) * 2.0**-24
    bound = (np.abs(a) @ np.abs(w) + np.abs(bias)) * unit
    assert (np.abs(out - (a @ w + bias)) <= bound).all()


@pytest.mark.parametrize("n", WIDTHS)
def test_widths(level: Kernels, reference: Kernels, n: int) -> None:
    lens = [7, 1, 16, 2]
    for sites in (1, 13, 25):
        pieces, w, bias = case(n + sites, sites, lens, n)
        everyone = np.arange(sites)
        out = run(level, pieces, everyone, pack(level, w, bias), n, stride=n + 3)
        check_close(level, out, pieces, w, bias)
        naive = run(reference, pieces, everyone, pack(reference, w, bias), n)
        check_close(reference, naive, pieces, w, bias)
        if level.name == b"portable":
            assert same_bits(out, naive)


@pytest.mark.parametrize("sites", SITES)
def test_sites(level: Kernels, sites: int) -> None:
    for n in (16, 40, 48, 64, 96):
        pieces, w, bias = case(sites, sites, [9, 9, 9], n)
        check_close(level, run(level, pieces, np.arange(sites), pack(level, w, bias), n), pieces, w, bias)


def test_long_sums(level: Kernels) -> None:
    pieces, w, bias = case(1, 30, [96] * 9, 72)
    check_close(level, run(level, pieces, np.arange(30), pack(level, w, bias), 72), pieces, w, bias)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bits_do_not_depend_on_the_call(level: Kernels, data: st.DataObject) -> None:
    n = data.draw(st.sampled_from(WIDTHS), label="n")
    total = data.draw(st.integers(1, 60), label="sites")
    lens = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=6), label="lens")
    pieces, w, bias = case(data.draw(st.integers(0, 99), label="seed"), total, lens, n)
    packed = pack(level, w, bias)
    whole = run(level, pieces, np.arange(total), packed, n)
    one_piece = guarded(np.concatenate(pieces, axis=1))
    assert same_bits(whole, run(level, [one_piece], np.arange(total), packed, n))
    chosen = np.array(data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=60), label="chosen"))
    assert same_bits(whole[chosen], run(level, pieces, chosen, packed, n))


def test_fused_levels_agree(library) -> None:
    """avx2 and avx512 sum in the same order with the same rounding."""
    if not {"avx2", "avx512"} <= set(library.names()):
        pytest.skip("this machine has no avx512 beside avx2")
    pieces, w, bias = case(3, 29, [16, 16, 5], 77)
    results = []
    for name in ("avx2", "avx512"):
        table = library.table(name)
        results.append(run(table, pieces, np.arange(29), pack(table, w, bias), 77))
    assert same_bits(*results)


def test_nothing_to_do(level: Kernels) -> None:
    """No sites: no output; no pieces: the bias."""
    pieces, w, bias = case(4, 3, [5], 20)
    packed = pack(level, w, bias)
    assert run(level, pieces, np.arange(0), packed, 20).size == 0
    empty = pack(level, np.zeros((0, 20), np.float32), bias)
    rows = guarded(np.zeros(1, np.uint64))
    lens = guarded(np.zeros(1, np.int32))
    out = guarded(np.zeros((3, 20), np.float32))
    level.gemm(GemmArgs(address(rows), 3, address(lens), 0, 3, address(empty), 0, 20, address(out), 20))
    assert same_bits(out, np.tile(bias, (3, 1)))


def test_tile_is_positive(level: Kernels) -> None:
    assert level.gemm_tile >= 1
