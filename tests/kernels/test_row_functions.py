"""softmax, layer_norm, lrn, arg_max: functions of a row's channels, of narrow rows by planes, of wide ones by lanes."""

import numpy as np
import pytest
from guarded import address, guarded, same_bits, spaced
from kernel_api import Kernels, LrnParameters, RowArgs

CHANNELS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 31, 32, 33, 47, 48, 63, 64, 65, 100, 129]
SITES = [1, 2, 3, 15, 16, 17, 63, 64, 65, 150]


def softmax(table: Kernels, rows: np.ndarray, log: bool = False, gap: int = 0, shift: int = 0) -> np.ndarray:
    """Of rows [sites, c], which lie `gap` floats apart in guarded memory."""
    sites, c = rows.shape
    x = guarded(spaced(rows, c + gap), shift)
    out = guarded(np.full((sites, c), np.nan, np.float32), shift)
    table.softmax(RowArgs(address(x), c + gap, sites, c, address(out)), log)
    return out.copy()


def layer_norm(table: Kernels, rows: np.ndarray, scale: np.ndarray, bias: np.ndarray, gap: int = 0) -> np.ndarray:
    sites, c = rows.shape
    x, scale, bias = guarded(spaced(rows, c + gap), c % 4), guarded(scale, 1), guarded(bias)
    out = guarded(np.full((sites, c), np.nan, np.float32), gap)
    table.layer_norm(RowArgs(address(x), c + gap, sites, c, address(out)), address(scale), address(bias), 1e-3)
    return out.copy()


def drawn(sites: int, c: int, size: float = 5.0) -> np.ndarray:
    return (np.random.default_rng(c).standard_normal((sites, c)) * size).astype(np.float32)


@pytest.mark.parametrize("log", [False, True], ids=["plain", "log"])
@pytest.mark.parametrize("c", CHANNELS)
def test_softmax(level: Kernels, reference: Kernels, c: int, log: bool) -> None:
    for sites in SITES:
        x = drawn(sites, c)
        wide = x.astype(np.float64) - x.max(1, keepdims=True)
        total = np.exp(wide).sum(1, keepdims=True)
        want = wide - np.log(total) if log else np.exp(wide) / total
        out = softmax(level, x, log, gap=sites % 3, shift=c % 4)
        np.testing.assert_allclose(out, want, rtol=4e-6, atol=2e-6 if log else 1e-37)  # x - max is rounded
        np.testing.assert_allclose(softmax(reference, x, log), want, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("log", [False, True], ids=["plain", "log"])
@pytest.mark.parametrize("c", CHANNELS)
def test_a_row_has_the_same_bits_wherever_it_stands(level: Kernels, c: int, log: bool) -> None:
    x = drawn(150, c)
    whole = softmax(level, x, log)
    for start, end in ((0, 1), (3, 20), (17, 150), (80, 81), (63, 130)):
        assert same_bits(softmax(level, x[start:end], log, gap=start % 4, shift=start % 3), whole[start:end])


@pytest.mark.parametrize("c", [2, 4, 19, 40])
def test_softmax_at_the_ends_of_its_range(level: Kernels, c: int) -> None:
    """Far below the maximum nothing is left; one NaN, or an infinite maximum, takes its own row and no other."""
    x = np.zeros((6, c), np.float32)
    x[0, 1:], x[1, 1:], x[2, 0] = -np.inf, -1000, 1000
    x[3, -1], x[4, -1] = np.nan, np.inf
    x[5] = -1e30
    out = softmax(level, x)
    first = np.eye(c, dtype=np.float32)[0]
    assert same_bits(out[:3], np.stack([first] * 3))
    assert np.isnan(out[3:5]).all()
    np.testing.assert_allclose(out[5], 1 / c, rtol=1e-6)
    log = softmax(level, x, log=True)
    assert log[0, 0] == 0 and (log[0, 1:] == -np.inf).all() and (log[1, 1:] == -1000).all()


@pytest.mark.parametrize("c", CHANNELS)
def test_layer_norm(level: Kernels, reference: Kernels, c: int) -> None:
    x, scale, bias = drawn(40, c), drawn(1, c)[0], drawn(2, c)[1]
    x[7] = 3  # no variance at all
    x[8] += 100
    wide = x.astype(np.float64) - x.mean(1, keepdims=True, dtype=np.float64)
    want = wide / np.sqrt(np.square(wide).mean(1, keepdims=True) + np.float32(1e-3)) * scale + bias
    out = layer_norm(level, x, scale, bias, gap=3)
    # a row far from zero loses what its mean has above its deviation
    bound = 2e-6 * (1 + np.abs(x).max(1, keepdims=True)) * (np.abs(scale) * 3 + np.abs(bias) + 1)
    assert (np.abs(out - want) <= bound).all()
    assert (np.abs(layer_norm(reference, x, scale, bias) - want) <= 1e-6 * (np.abs(want) + np.abs(bias) + 1)).all()
    for start, end in ((0, 1), (5, 20), (39, 40)):
        assert same_bits(layer_norm(level, x[start:end], scale, bias, gap=start % 4), out[start:end])


def lrn(table: Kernels, rows: np.ndarray, parameters: LrnParameters, gap: int = 0) -> np.ndarray:
    sites, c = rows.shape
    x, out = guarded(spaced(rows, c + gap), c % 4), guarded(np.full((sites, c), np.nan, np.float32), gap)
    table.lrn(RowArgs(address(x), c + gap, sites, c, address(out)), parameters)
    return out.copy()


@pytest.mark.parametrize("c", [*CHANNELS, 256, 257, 300, 600])
@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_lrn(level: Kernels, reference: Kernels, c: int, size: int) -> None:
    x, before = drawn(21, c), (size - 1) // 2
    squares = np.pad(np.square(x.astype(np.float64)), ((0, 0), (before, size - 1 - before)))
    total = np.lib.stride_tricks.sliding_window_view(squares, size, axis=1).sum(2)
    for beta in (0.5, 0.75, 0.9):
        parameters = LrnParameters(size, 0.3, beta, 1.5)
        want = x / (1.5 + 0.3 / size * total) ** beta
        out = lrn(level, x, parameters, gap=3)
        np.testing.assert_allclose(out, want, rtol=2e-6)
        np.testing.assert_allclose(lrn(reference, x, parameters), want, rtol=5e-7)
        for start, end in ((0, 1), (5, 20)):
            assert same_bits(lrn(level, x[start:end], parameters, gap=start % 4), out[start:end])


def arg_max(table: Kernels, rows: np.ndarray, last: bool = False, gap: int = 0) -> np.ndarray:
    sites, c = rows.shape
    x, out = guarded(spaced(rows, c + gap), c % 4), guarded(np.full(sites, np.nan, np.float32), gap)
    table.arg_max(RowArgs(address(x), c + gap, sites, c, address(out)), last)
    return out.copy()


@pytest.mark.parametrize("c", [*CHANNELS, 300])
def test_arg_max(level: Kernels, reference: Kernels, c: int) -> None:
    for sites in SITES:
        x = np.round(drawn(sites, c, 1.0))  # many are equal
        out = arg_max(level, x, gap=sites % 3)
        assert same_bits(out, x.argmax(1).astype(np.float32))
        last = arg_max(level, x, last=True)
        assert same_bits(last, (c - 1 - x[:, ::-1].argmax(1)).astype(np.float32))
        x[::2, c // 2] = np.nan
        for way in (False, True):
            assert same_bits(arg_max(level, x, way), arg_max(reference, x, way))
