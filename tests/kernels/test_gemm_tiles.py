"""gemm of the amx level on emulated tiles: values, bits, what is not finite, and the tiles of others."""

import ctypes as ct
from collections.abc import Iterator

import emulations
import numpy as np
import pytest
from emulations import Emulation
from guarded import address, guarded, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_api import GemmArgs, Kernels
from test_gemm import case, check_close, pack, run

INF, MAX, TINY = np.float32(np.inf), np.finfo(np.float32).max, np.finfo(np.float32).tiny
# Error of a whole output by its norm, on normally distributed numbers: 4.4e-6, and some more or less for a small one.
RELATIVE_L2, RELATIVE_L2_SMALL = 5e-6, 1e-5


@pytest.fixture(scope="module", params=emulations.KINDS)
def emulated(request: pytest.FixtureRequest) -> Iterator[Emulation]:
    with emulations.running(request.param) as found:
        yield found


@pytest.fixture
def amx(emulated: Emulation) -> Kernels:
    return emulated.table("amx")


def odd_pieces(k: int) -> list[int]:
    """Lengths that sum to k, most of them odd and not aligned with the steps of 32."""
    lens, left = [], k
    for length in (7, 33, 1, 64, 5, 97, 31):
        if left > 0:
            lens.append(min(length, left))
            left -= lens[-1]
    return [*lens, left] if left else lens


def check(level: Kernels, reference: Kernels, seed: int, sites: int, lens: list[int], n: int) -> None:
    """Close to NumPy and to the reference for each element, and as a whole within RELATIVE_L2_SMALL."""
    pieces, w, bias = case(seed, sites, lens, n)
    everyone = np.arange(sites)
    out = run(level, pieces, everyone, pack(level, w, bias), n, stride=n + seed % 3)
    check_close(level, out, pieces, w, bias)
    naive = run(reference, pieces, everyone, pack(reference, w, bias), n)
    assert np.linalg.norm(out - naive) <= RELATIVE_L2_SMALL * np.linalg.norm(naive)


@pytest.mark.parametrize("n", range(1, 68))
def test_every_rest_of_channels(amx: Kernels, reference: Kernels, n: int) -> None:
    check(amx, reference, n, 1 + n * 29 % 70, odd_pieces(32 + n * 17 % 90), n)


@pytest.mark.parametrize("sites", range(1, 71))
def test_every_rest_of_sites(amx: Kernels, reference: Kernels, sites: int) -> None:
    check(amx, reference, sites, sites, odd_pieces(45), (33, 16, 70)[sites % 3])


@pytest.mark.parametrize("k", [*range(1, 100), 255, 256, 257, 300, 513, 700])
def test_every_rest_of_k(amx: Kernels, reference: Kernels, k: int) -> None:
    check(amx, reference, k, (3, 20)[k % 2], odd_pieces(k), 37)


@pytest.mark.parametrize("k", [64, 300, 1152])
def test_error_of_a_large_output(amx: Kernels, k: int) -> None:
    pieces, w, bias = case(k, 70, [k], 64)
    out = run(amx, pieces, np.arange(70), pack(amx, w, bias), 64)
    exact = pieces[0].astype(np.float64) @ w + bias
    assert 0.5 * RELATIVE_L2 <= np.linalg.norm(out - exact) / np.linalg.norm(exact) <= RELATIVE_L2


def bf16(x: np.ndarray) -> np.ndarray:
    """The nearest bf16, ties to even, as a float; finite stays finite, denormals are zero."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    rounded = np.where((rounded & 0x7FFFFFFF) == 0x7F800000, rounded - 0x10000, rounded)
    rounded = np.where((bits & 0x7F800000) == 0, bits & 0x80000000, rounded)
    rounded = np.where((bits & 0x7F800000) == 0x7F800000, (bits | (np.isnan(x) << 22)) & 0xFFFF0000, rounded)
    return rounded.astype(np.uint32).view(np.float32)


def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hi = bf16(x)
    with np.errstate(invalid="ignore"):
        return hi, np.where(np.isfinite(x), bf16(x - hi), np.float32(0))


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One tile product: even and odd values of k apart, each by fused multiply-adds, then both together."""
    sums = np.zeros((2, a.shape[0], b.shape[1]), np.float32)
    for i in range(a.shape[1]):
        sums[i % 2] = (sums[i % 2] + a[:, i, None].astype(np.float64) * b[i]).astype(np.float32)
    return sums[0] + sums[1]


def in_order(x: np.ndarray, w: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The sums in the order that gemm_amx-inl.h states."""
    out = np.tile(bias, (len(x), 1))
    for k in range(0, x.shape[1], 32):
        (x_hi, x_lo), (w_hi, w_lo) = parts(x[:, k : k + 32]), parts(w[k : k + 32])
        for a, b in ((x_lo, w_hi), (x_hi, w_hi), (x_hi, w_lo)):
            out = out + product(a, b)
    return out


@pytest.mark.parametrize("sites", [1, 16, 17, 40])  # one tile of sites, and two
@pytest.mark.parametrize("k", [32, 45, 300])
def test_sums_are_in_the_stated_order(amx: Kernels, sites: int, k: int) -> None:
    pieces, w, bias = case(k, sites, odd_pieces(k), 70)
    out = run(amx, pieces, np.arange(sites), pack(amx, w, bias), 70)
    assert same_bits(out, in_order(np.concatenate(pieces, axis=1), w, bias))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bits_do_not_depend_on_the_call(emulated: Emulation, data: st.DataObject) -> None:
    amx = emulated.table("amx")
    n, k = data.draw(st.integers(16, 90), label="n"), data.draw(st.integers(32, 400), label="k")
    total = data.draw(st.integers(1, 70), label="sites")
    pieces, w, bias = case(data.draw(st.integers(0, 99), label="seed"), total, odd_pieces(k), n)
    if data.draw(st.booleans(), label="infinite"):
        pieces[0][data.draw(st.integers(0, total - 1), label="where"), 0] = INF
    packed = pack(amx, w, bias)
    whole = run(amx, pieces, np.arange(total), packed, n)
    one_piece = guarded(np.concatenate(pieces, axis=1))
    assert same_bits(whole, run(amx, [one_piece], np.arange(total), packed, n))
    chosen = np.array(data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=70), label="chosen"))
    assert same_bits(whole[chosen], run(amx, pieces, chosen, packed, n))


def test_every_height_of_a_tile_gives_the_same_bits(amx: Kernels) -> None:
    """1 to 70 sites: tiles of every height, alone and in pairs, whole and not."""
    pieces, w, bias = case(5, 70, odd_pieces(300), 70)
    packed = pack(amx, w, bias)
    whole = run(amx, pieces, np.arange(70), packed, 70)
    for sites in range(1, 70):
        assert same_bits(whole[:sites], run(amx, pieces, np.arange(sites), packed, 70)), sites


@pytest.mark.parametrize("kind", emulations.KINDS[1:])
def test_emulations_agree(kind: str) -> None:
    """The splitting instructions and the plain code, and the object that is shipped: equal bits."""
    pieces, w, bias = case(8, 50, odd_pieces(400), 83)
    pieces[0][3, 2] = MAX
    results = []
    for each in (emulations.KINDS[0], kind):
        with emulations.running(each) as emulated:
            amx = emulated.table("amx")
            results.append(run(amx, pieces, np.arange(50), pack(amx, w, bias), 83))
    assert same_bits(*results)


def special_floats() -> np.ndarray:
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 2**32, 32 * 500, np.uint32, endpoint=False).view(np.float32)
    edges = np.array([0, 1, 0x7FFFFF, 0x800000, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000], np.uint32)
    edges = np.concatenate([edges, [0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x3F808000, 0x3F818000, 0x0087FFFF]])
    edges = np.concatenate([edges, edges | 0x80000000]).astype(np.uint32).view(np.float32)
    alone = np.ones((len(edges), 32), np.float32)
    alone[np.arange(len(edges)), np.arange(len(edges)) % 32] = edges
    return np.concatenate([drawn.reshape(-1, 32), alone])


@pytest.mark.parametrize("kind", emulations.KINDS[:2])
def test_parts_of_a_float(kind: str) -> None:
    split = emulations.library(kind).lib.split_row
    for x in special_floats():
        hi, lo, finite = np.zeros(32, np.uint16), np.zeros(32, np.uint16), ct.c_bool()
        split(ct.c_void_p(address(x)), ct.c_void_p(address(hi)), ct.c_void_p(address(lo)), ct.byref(finite))
        assert finite.value == bool(np.isfinite(x).all())
        for got, expected in zip((hi, lo), parts(x), strict=True):
            assert same_bits(got, (expected.view(np.uint32) >> 16).astype(np.uint16))
        x_hi, x_lo = ((part.astype(np.uint32) << 16).view(np.float32) for part in (hi, lo))
        normal = np.isfinite(x) & (np.abs(x) >= TINY)
        exact = x[normal].astype(np.float64)
        assert (
            np.abs(x_hi[normal].astype(np.float64) + x_lo[normal] - exact) <= np.maximum(np.abs(exact) * 2.0**-17, TINY)
        ).all()
        assert (np.isfinite(x) | (np.isnan(x_hi) == np.isnan(x)) & (x_lo == 0)).all()


@pytest.mark.parametrize("value", [INF, -INF, np.float32(np.nan)])
@pytest.mark.parametrize("sites", [5, 40])
def test_what_is_not_finite_is_as_in_the_float_kernel(
    amx: Kernels, reference: Kernels, value: np.float32, sites: int
) -> None:
    """Also where a weight has a lo part of zero, or of the other sign; and other rows keep their bits."""
    pieces, w, bias = case(2, sites, [40, 300], 50)
    w[:, ::3] = np.float32(0.5)
    w[3, 0] = w[320, 1] = 0  # times infinity: NaN
    clean = run(amx, pieces, np.arange(sites), pack(amx, w, bias), 50)
    pieces[0][2, 3] = pieces[1][2, 7] = pieces[1][4, 280] = value
    out = run(amx, pieces, np.arange(sites), pack(amx, w, bias), 50)
    naive = run(reference, pieces, np.arange(sites), pack(reference, w, bias), 50)
    assert np.array_equal(out[[2, 4]], naive[[2, 4]], equal_nan=True)
    assert np.isnan(naive[4, 1]) and (np.isinf(value) == np.isinf(naive[4, 0]))
    rest = [m for m in range(sites) if m not in (2, 4)]
    assert same_bits(out[rest], clean[rest])


def test_large_numbers_stay_finite(amx: Kernels) -> None:
    """What rounds to infinity in bf16 does not become it, in rows or in weights."""
    pieces, w, bias = case(3, 4, [50], 20)
    pieces[0][:] = 0
    pieces[0][1, 4], pieces[0][2, 5] = MAX, -MAX
    w[4], w[5] = np.float32(0.75), np.float32(0.5)
    out = run(amx, pieces, np.arange(4), pack(amx, w, bias), 20)
    assert np.allclose(out[1], MAX * np.float32(0.75), rtol=2.0**-15)
    assert np.allclose(out[2], MAX * np.float32(-0.5), rtol=2.0**-15)
    pieces[0][1, 4], pieces[0][2, 5] = 0.75, 0
    w[4] = MAX
    out = run(amx, pieces, np.arange(4), pack(amx, w, bias), 20)
    assert np.allclose(out[1], MAX * np.float32(0.75), rtol=2.0**-15)


@pytest.mark.parametrize("value", [INF, -INF, np.float32(np.nan)])
def test_weights_that_are_not_finite_are_left_to_the_float_kernel(value: np.float32) -> None:
    emulated = emulations.library("amx-emulated")
    amx, below = emulated.table("amx"), emulated.below
    pieces, w, bias = case(6, 9, [45], 30)
    pieces[0][:, 3] = 1  # without a lo part
    w[3, 4] = value
    out = run(amx, pieces, np.arange(9), pack(amx, w, bias), 30)
    assert same_bits(out, run(below, pieces, np.arange(9), pack(below, w, bias), 30))
    assert not np.isfinite(out[:, 4]).any() and np.isnan(out[:, 4]).any() == np.isnan(value)


@pytest.mark.parametrize(("k", "n"), [(31, 64), (300, 15), (1, 1), (32, 16), (32, 17), (33, 16)])
def test_k_and_n_alone_choose_the_kernel(k: int, n: int) -> None:
    """Less than a tile of weights: the float kernel, for any number of sites."""
    emulated = emulations.library("amx-emulated")
    amx, below = emulated.table("amx"), emulated.below
    for sites in (1, 2, 16, 17, 70):
        pieces, w, bias = case(k, sites, [k], n)
        out = run(amx, pieces, np.arange(sites), pack(amx, w, bias), n)
        floats = run(below, pieces, np.arange(sites), pack(below, w, bias), n)
        assert same_bits(out, floats) == (k < 32 or n < 16)


def test_packed_weights_may_be_moved(amx: Kernels) -> None:
    """Where the aligned part begins is written in them, not guessed from where they lie."""
    pieces, w, bias = case(7, 18, [50], 40)
    packed = pack(amx, w, bias)
    expected = run(amx, pieces, np.arange(18), packed, 40)
    for shift in range(1, 17):
        assert same_bits(expected, run(amx, pieces, np.arange(18), guarded(packed, shift=shift), 40))
        again = guarded(np.zeros(packed.size, np.float32), shift=shift)
        amx.gemm_pack(address(w), 50, 40, address(bias), address(again))
        assert (address(again) // 4 + int(again[0])) % 16 == 0
        assert same_bits(expected, run(amx, pieces, np.arange(18), again, 40))


def test_rows_that_are_fetched_ahead_change_nothing(amx: Kernels) -> None:
    sites, k, n = 37, 300, 70
    pieces, w, bias = case(9, sites, [k], n)
    packed = pack(amx, w, bias)
    rows = guarded(np.array([piece.ctypes.data for piece in pieces[0]], np.uint64))
    lens, out = guarded(np.array([k], np.int32)), guarded(np.zeros((sites, n), np.float32))
    next_rows = guarded(np.ones((sites, n), np.float32))
    ahead = guarded(np.array([row.ctypes.data for row in next_rows], np.uint64))
    args = address(rows), sites, address(lens), 1, sites, address(packed), k, n, address(out), n
    amx.gemm(GemmArgs(*args, address(ahead)))
    assert same_bits(out, run(amx, pieces, np.arange(sites), packed, n))
    assert (next_rows == 1).all()


class Shapes(ct.Structure):
    _fields_ = [
        ("palette", ct.c_uint8),
        ("start_row", ct.c_uint8),
        ("reserved", ct.c_uint8 * 14),
        ("row_bytes", ct.c_uint16 * 16),
        ("rows", ct.c_uint8 * 16),
    ]


def test_tiles_of_others_keep_their_shapes(emulated: Emulation) -> None:
    """And where there were none, there are none afterwards."""
    amx = emulated.table("amx")
    pieces, w, bias = case(4, 20, [40], 20)
    packed = pack(amx, w, bias)
    others = Shapes(palette=1)
    others.row_bytes[2], others.rows[2] = 48, 7
    for shapes in (others, Shapes()):
        emulated.lib.set_shapes(ct.byref(shapes))
        run(amx, pieces, np.arange(20), packed, 20)
        now = Shapes()
        emulated.lib.get_shapes(ct.byref(now))
        assert bytes(now) == bytes(shapes)
