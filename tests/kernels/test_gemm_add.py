"""gemm_add: values, the stretch of k and the columns that are asked for, equal bits whatever the call."""

import numpy as np
import pytest
from guarded import address, guarded, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_api import GemmAddArgs, Kernels
from test_gemm import SITES, WIDTHS, pack


@pytest.fixture(scope="session")
def level(level: Kernels) -> Kernels:
    if not level.gemm_add:
        pytest.skip("this level has no gemm_add")
    return level


def add(
    table: Kernels, rows: np.ndarray, kept: np.ndarray, packed: np.ndarray, k: int, first: int, column: int = 0
) -> np.ndarray:
    """The kept rows [sites, n] after rows [sites, count] times w[first : first + count] were added to them.

    They lie in longer rows, from `column` on."""
    (sites, count), n = rows.shape, kept.shape[1]
    outs = [guarded(np.zeros(column + table.gemm_packed_floats(0, n), np.float32)) for _ in range(sites)]
    for out, row in zip(outs, kept, strict=True):
        out[:column] = np.nan
        out[column : column + n] = row
    inputs = [guarded(row) for row in rows]
    where = [guarded(np.array([row.ctypes.data for row in x] or [0], np.uint64)) for x in (inputs, outs)]
    table.gemm_add(GemmAddArgs(*map(address, where), sites, address(packed), k, n, first, count, column))
    assert all(np.isnan(out[:column]).all() for out in outs)
    return np.array([out[column : column + n] for out in outs]).reshape(sites, n)


def case(seed: int, sites: int, k: int, count: int, n: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    shapes = (sites, count), (sites, n), (k, n), (n,)
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


def check(table: Kernels, sites: int, k: int, first: int, count: int, n: int, column: int = 0) -> None:
    rows, kept, w, bias = case(sites + n, sites, k, count, n)
    out = add(table, rows, kept, pack(table, w, bias), k, first, column)
    a, b = rows.astype(np.float64), w[first : first + count].astype(np.float64)
    bound = (np.abs(a) @ np.abs(b) + np.abs(kept)) * (count + 2) * 2.0**-24
    assert (np.abs(out - (kept + a @ b)) <= bound).all()


@pytest.mark.parametrize("n", WIDTHS)
def test_widths(level: Kernels, reference: Kernels, n: int) -> None:
    for sites in (1, 13, 25):
        for column in (0, 5, 64):
            check(level, sites, 40, 9, 17, n, column)
            check(reference, sites, 40, 9, 17, n, column)


@pytest.mark.parametrize("sites", SITES)
def test_sites_and_stretches(level: Kernels, sites: int) -> None:
    for n in (16, 40, 64, 96):
        for first, count in ((0, 1), (0, 27), (26, 1), (5, 12)):
            check(level, sites, 27, first, count, n)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bits_do_not_depend_on_the_call(level: Kernels, data: st.DataObject) -> None:
    """Neither on the other sites of the call nor on the place in the row."""
    n = data.draw(st.sampled_from(WIDTHS), label="n")
    sites, count = (data.draw(st.integers(1, 40), label=x) for x in ("sites", "count"))
    rows, kept, w, bias = case(data.draw(st.integers(0, 99), label="seed"), sites, count + 3, count, n)
    packed = pack(level, w, bias)
    whole = add(level, rows, kept, packed, count + 3, 2)
    assert same_bits(whole, add(level, rows, kept, packed, count + 3, 2, data.draw(st.integers(1, 70), label="column")))
    chosen = np.array(data.draw(st.lists(st.integers(0, sites - 1), min_size=1, max_size=40), label="chosen"))
    assert same_bits(whole[chosen], add(level, rows[chosen], kept[chosen], packed, count + 3, 2))


def test_nothing_to_do(level: Kernels) -> None:
    rows, kept, w, bias = case(6, 4, 5, 5, 20)
    packed = pack(level, w, bias)
    assert same_bits(add(level, rows[:, :0], kept, packed, 5, 2), kept)
    assert add(level, rows[:0], kept[:0], packed, 5, 0).size == 0
