"""to_planar, u8_to_f32, sum_squares."""

import numpy as np
import pytest
from guarded import address, gaps_untouched, guarded, rows_of, same_bits, spaced
from kernel_api import Kernels

LENGTHS = [1, 2, 3, 4, 5, 7, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100, 129]


@pytest.mark.parametrize("c", [1, 2, 3, 4, 5, 8, 17, 33])
def test_to_planar(level: Kernels, c: int) -> None:
    for sites in LENGTHS:
        for row_gap, plane_gap in ((0, 0), (3, 0), (0, 5), (1, 1)):
            values = np.random.default_rng(sites).standard_normal((sites, c), np.float32)
            rows = guarded(spaced(values, c + row_gap), shift=sites % 4)
            plane = sites + plane_gap
            out = guarded(spaced(np.full((c, sites), np.nan, np.float32), plane))
            level.to_planar(address(rows), c + row_gap, sites, c, address(out), plane)
            assert same_bits(rows_of(out, c, sites, plane), values.T)
            assert gaps_untouched(out, c, sites, plane)


@pytest.mark.parametrize("n", [0, *LENGTHS, 1000])
def test_u8_to_f32(level: Kernels, n: int) -> None:
    x = guarded(np.random.default_rng(n).integers(0, 256, n).astype(np.uint8)) if n else np.zeros(0, np.uint8)
    out = guarded(np.full(max(n, 1), np.nan, np.float32))
    level.u8_to_f32(address(x), n, address(out))
    assert same_bits(out[:n], x.astype(np.float32))


@pytest.mark.parametrize("n", [0, *LENGTHS, 1000])
def test_sum_squares(level: Kernels, n: int) -> None:
    x = guarded(np.random.default_rng(n).standard_normal(max(n, 1), np.float32) * np.float32(1e15))[:n]
    want = (x.astype(np.float64) ** 2).sum()
    assert level.sum_squares(address(x), n) == pytest.approx(want, rel=1e-13)
