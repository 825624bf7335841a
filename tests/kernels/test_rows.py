"""depthwise, window_max, window_weighted, binary, gather_channels, row_sum, row_max: functions of whole rows."""

import numpy as np
import pytest
from guarded import address, gaps_untouched, guarded, rows_of, same_bits, spaced
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_api import BINARY_OPS, BinaryArgs, DepthwiseArgs, Kernels, RunArgs, WindowArgs

CHANNELS = [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100, 129]
SITES = 21
EPS = 2.0**-24


def taps_case(seed: int, taps: int, sites: int, c: int, nulls: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows [taps, sites, c], presence [taps, sites], pointers (null where absent; absent rows are NaN)."""
    rng = np.random.default_rng(seed)
    present = rng.random((taps, sites)) >= nulls
    rows = guarded(rng.standard_normal((taps, sites, c), np.float32), shift=seed % 4)
    rows[~present] = np.nan
    pointers = rows.ctypes.data + 4 * c * np.arange(taps * sites, dtype=np.uint64).reshape(taps, sites)
    return rows, present, guarded(np.where(present, pointers, 0).astype(np.uint64))


def depthwise(table: Kernels, pointers: np.ndarray, w: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    taps, sites = pointers.shape
    c = bias.size
    out = guarded(spaced(np.full((sites, c), np.nan, np.float32), stride))
    w = guarded(spaced(w, stride))
    table.depthwise(
        DepthwiseArgs(address(pointers), sites, taps, sites, address(w), stride, address(bias), c, address(out), stride)
    )
    assert gaps_untouched(out, sites, c, stride)
    return rows_of(out, sites, c, stride).copy()


def window(
    table: Kernels, kind: str, pointers: np.ndarray, weights: np.ndarray | None, c: int, stride: int
) -> np.ndarray:
    taps, sites = pointers.shape
    out = guarded(spaced(np.full((sites, c), np.nan, np.float32), stride))
    args = WindowArgs(address(pointers), sites, taps, sites, address(weights), c, address(out), stride)
    getattr(table, kind)(args)
    assert gaps_untouched(out, sites, c, stride)
    return rows_of(out, sites, c, stride).copy()


@pytest.mark.parametrize("nulls", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("c", CHANNELS)
def test_depthwise(level: Kernels, reference: Kernels, c: int, nulls: float) -> None:
    for taps in (1, 9, 25):
        rows, present, pointers = taps_case(c + taps, taps, SITES, c, nulls)
        rng = np.random.default_rng(c)
        w = guarded(rng.standard_normal((taps, c), np.float32))
        bias = guarded(rng.standard_normal(c, np.float32))
        out = depthwise(level, pointers, w, bias, c + 2)
        products = np.where(present[..., None], rows.astype(np.float64) * w[:, None], 0)
        bound = (np.abs(products).sum(0) + np.abs(bias)) * (taps + 2) * EPS
        assert (np.abs(out - (products.sum(0) + bias)) <= bound).all()
        if level.name == b"portable":
            assert same_bits(out, depthwise(reference, pointers, w, bias, c + 2))
        chosen = np.random.default_rng(1).integers(0, SITES, 11)
        subset = guarded(pointers[:, chosen])
        assert same_bits(out[chosen], depthwise(level, subset, w, bias, c))


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.tuples(st.sampled_from([1, 2, 3, 5]), st.sampled_from([1, 2, 3, 4, 5, 7])),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    sites=st.integers(1, 40),
    hangs=st.tuples(st.integers(-2, 7), st.integers(-2, 7)),
    c=st.sampled_from(CHANNELS),
    outside=st.sampled_from(["", "first", "last"]),
    look_ahead=st.booleans(),
)
def test_runs(
    level: Kernels,
    reference: Kernels,
    kernel: tuple[int, int],
    stride: int,
    dilation: int,
    sites: int,
    hangs: tuple[int, int],
    c: int,
    outside: str,
    look_ahead: bool,
) -> None:
    """Neighbours by strides: the bits of the functions that take a pointer for each tap and site.

    hangs: columns that the windows hang over the left and the right edge, less than none: that lie beside them.
    """
    kh, kw = kernel
    rng = np.random.default_rng(c + sites)
    column = -hangs[0]
    width = max(1, (sites - 1) * stride + (kw - 1) * dilation + 1 - hangs[0] - hangs[1])
    rows = guarded(rng.standard_normal((kh, width, c), np.float32), shift=c % 4)
    bands = rows.ctypes.data + 4 * width * c * np.arange(kh, dtype=np.uint64)
    if outside:
        bands[0 if outside == "first" else -1] = 0
    bands = guarded(bands.astype(np.uint64))
    w, bias = rng.standard_normal((kh * kw, c), np.float32), guarded(rng.standard_normal(c, np.float32))
    weights = guarded(spaced(w, c + 3))
    out = guarded(spaced(np.full((sites, c), np.nan, np.float32), c + 2))
    held = guarded((rows.ctypes.data + 4 * c * np.arange(sites) % rows.nbytes).astype(np.uint64))
    args = RunArgs(
        *(address(bands), kh, kw, column, width, stride, dilation, c, sites, address(weights), c + 3),
        *(address(bias), c, address(out), c + 2, address(held) if look_ahead else None),
    )
    level.depthwise_run(args)
    assert gaps_untouched(out, sites, c, c + 2)
    result = rows_of(out, sites, c, c + 2).copy()
    x = column + (np.arange(sites) * stride)[None] + (np.arange(kw) * dilation)[:, None]
    absent = (bands[:, None, None] == 0) | ((x < 0) | (x >= width))[None]
    pointers = np.where(absent, 0, bands[:, None, None] + 4 * c * x.clip(0)[None].astype(np.uint64))
    pointers = guarded(pointers.reshape(kh * kw, sites).astype(np.uint64))
    assert same_bits(result, depthwise(level, pointers, w, bias, c))
    if level.name == b"portable":
        reference.depthwise_run(args)
        assert same_bits(result, rows_of(out, sites, c, c + 2))
    level.window_max_run(args)
    assert gaps_untouched(out, sites, c, c + 2)
    result = rows_of(out, sites, c, c + 2).copy()
    assert same_bits(result, window(level, "window_max", pointers, None, c, c))
    reference.window_max_run(args)
    assert same_bits(result, rows_of(out, sites, c, c + 2))


@pytest.mark.parametrize("c", CHANNELS)
def test_windows(level: Kernels, reference: Kernels, c: int) -> None:
    for taps, nulls in ((1, 0.5), (4, 0.0), (9, 0.2), (169, 0.1)):
        rows, present, pointers = taps_case(c + taps, taps, SITES, c, nulls)
        weights = guarded(np.random.default_rng(c).random((taps, SITES), np.float32))
        weights[~present] = np.nan
        out = window(level, "window_max", pointers, None, c, c + 1)
        assert same_bits(out, np.where(present[..., None], rows, -np.inf).max(0).astype(np.float32))
        mean = window(level, "window_weighted", pointers, weights, c, c + 1)
        products = np.where(present[..., None], rows.astype(np.float64) * weights[..., None], 0)
        assert (np.abs(mean - products.sum(0)) <= np.abs(products).sum(0) * (taps + 1) * EPS).all()
        if level.name == b"portable":
            assert same_bits(mean, window(reference, "window_weighted", pointers, weights, c, c))
        chosen = np.random.default_rng(1).integers(0, SITES, 5)
        subset, of_subset = guarded(pointers[:, chosen]), guarded(weights[:, chosen])
        assert same_bits(mean[chosen], window(level, "window_weighted", subset, of_subset, c, c))


def test_window_max_of_nan_follows_the_stated_order(level: Kernels, reference: Kernels) -> None:
    """max(acc, x) is x where either is NaN: a later number wins over a NaN, a last NaN stays."""
    rows, _, pointers = taps_case(1, 5, SITES, 19, 0.0)
    rows[np.random.default_rng(2).random(rows.shape) < 0.4] = np.nan
    args = (pointers, None, 19, 19)
    assert same_bits(window(level, "window_max", *args), window(reference, "window_max", *args))


def binary(table: Kernels, op: int, a: tuple, b: tuple, sites: int, c: int, stride: int) -> np.ndarray:
    """a, b: (flat array, stride, wide)."""
    out = guarded(spaced(np.full((sites, c), np.nan, np.float32), stride), shift=1)
    table.binary(BinaryArgs(op, address(a[0]), a[1], a[2], address(b[0]), b[1], b[2], sites, c, address(out), stride))
    assert gaps_untouched(out, sites, c, stride)
    return rows_of(out, sites, c, stride).copy()


@st.composite
def sides(draw: st.DrawFn, sites: int, c: int, seed: int, positive: bool) -> tuple[np.ndarray, int, bool]:
    wide = draw(st.booleans())
    width = c if wide else 1
    stride = draw(st.sampled_from([0, width, width + 5]))
    values = np.random.default_rng(seed).standard_normal((sites if stride else 1, width), np.float32)
    values = np.abs(values) if positive else values
    return guarded(spaced(values, stride), shift=draw(st.integers(0, 3))), stride, wide


@pytest.mark.parametrize("op", range(len(BINARY_OPS)), ids=BINARY_OPS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_binary(level: Kernels, reference: Kernels, op: int, data: st.DataObject) -> None:
    sites = data.draw(st.sampled_from([1, 2, 5, 17, 40]), label="sites")
    c = data.draw(st.sampled_from(CHANNELS), label="c")
    a = data.draw(sides(sites, c, 1, BINARY_OPS[op] == "pow"), label="a")
    b = data.draw(sides(sites, c, 2, False), label="b")
    stride = c + data.draw(st.sampled_from([0, 3]), label="gap")
    out = binary(level, op, a, b, sites, c, stride)
    assert same_bits(out, binary(reference, op, a, b, sites, c, stride))
    dense = [np.lib.stride_tricks.as_strided(x, (sites, c), (4 * s, 4 if wide else 0)) for x, s, wide in (a, b)]
    ufunc = [np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.power][op]
    np.testing.assert_allclose(out, ufunc(*dense), rtol=2e-7)


@pytest.mark.parametrize("c", CHANNELS)
def test_binary_in_place(level: Kernels, c: int) -> None:
    rng = np.random.default_rng(c)
    a, b = (guarded(rng.standard_normal((9, c), np.float32)) for _ in range(2))
    want = [a + b, a - (a + b)]
    level.binary(BinaryArgs(0, address(a), c, True, address(b), c, True, 9, c, address(a), c))  # a = a + b
    assert same_bits(a, want[0])
    a_before = want[0] - b
    level.binary(BinaryArgs(1, address(a), c, True, address(b), c, True, 9, c, address(b), c))  # b = a - b
    assert same_bits(b, a_before)


@pytest.mark.parametrize("c", CHANNELS)
def test_folds_and_gather(level: Kernels, c: int) -> None:
    rng = np.random.default_rng(c)
    for sites, gap in ((1, 0), (6, 3), (100, 0)):
        values = rng.standard_normal((sites, c), np.float32)
        rows = guarded(spaced(values, c + gap))
        total, top = (guarded(np.full(c, np.nan, np.float32)) for _ in range(2))
        level.row_sum(address(rows), c + gap, sites, c, address(total))
        level.row_max(address(rows), c + gap, sites, c, address(top))
        ordered = np.zeros(c, np.float32)
        for row in values:
            ordered = ordered + row
        assert same_bits(total, ordered)
        assert same_bits(top, values.max(0))
        index = guarded(rng.integers(0, c, 2 * c).astype(np.int32))
        out = guarded(spaced(np.full((sites, 2 * c), np.nan, np.float32), 2 * c + gap))
        level.gather_channels(address(rows), c + gap, sites, address(index), 2 * c, address(out), 2 * c + gap)
        assert same_bits(rows_of(out, sites, 2 * c, 2 * c + gap), values[:, index])
        assert gaps_untouched(out, sites, 2 * c, 2 * c + gap)
