"""commit, commit_rows and commit_planar: which rows replace, what is written, the bit map."""

import numpy as np
import pytest
from guarded import address, guarded, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_api import GATES, CommitArgs, CommitPlanarArgs, CommitRowsArgs, Kernels

CHANNELS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 80, 96, 100, 112, 120, 128, 129]
SITES = [1, 15, 16, 17, 64, 65, 129]
LIMIT = 0.015  # no row of `frames` comes near it: squares are sums of 1e-6, 0.01 and 4
ALL, EXACT, RMS = range(len(GATES))
PLANAR_SITES = 64  # kPlanarSites of table.h


def unpack(bits: np.ndarray, sites: int) -> np.ndarray:
    """Flags [sites]; asserts that the bits past the sites are clear."""
    flags = np.unpackbits(bits.view(np.uint8), bitorder="little").astype(bool)
    assert not flags[sites:].any()
    return flags[:sites]


def commit(
    table: Kernels, fresh: np.ndarray, held: np.ndarray, gate: int, limit: float = 0.0, shift: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Flags [sites] and the held rows afterwards; inputs are not changed."""
    sites, c = fresh.shape
    fresh, held = guarded(fresh, shift), guarded(held, 3 - shift)
    bits = guarded(np.full((sites + 63) // 64, 0x5555555555555555, np.uint64))
    count = table.commit(CommitArgs(address(fresh), address(held), sites, c, gate, limit, address(bits), None))
    flags = unpack(bits, sites)
    assert count == flags.sum()
    return flags, held.copy()


def commit_deltas(
    table: Kernels, fresh: np.ndarray, held: np.ndarray, gate: int, limit: float = 0.0, shift: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """As commit; what the rows changed by must be the differences of those that replaced."""
    sites, c = fresh.shape
    plain, after = commit(table, fresh, held, gate, limit, shift)
    rows, kept = guarded(fresh, shift), guarded(held, 3 - shift)
    bits = guarded(np.full((sites + 63) // 64, 0x5555555555555555, np.uint64))
    deltas = guarded(np.full((plain.sum(), c), np.nan, np.float32))  # no room for more than what replaces
    count = table.commit(
        CommitArgs(address(rows), address(kept), sites, c, gate, limit, address(bits), address(deltas))
    )
    flags = unpack(bits, sites)
    assert count == flags.sum()
    assert (flags == plain).all()
    assert same_bits(kept, after)
    if gate != ALL:
        assert np.array_equal(deltas, (fresh - held)[flags], equal_nan=True)
    return flags, kept.copy()


def commit_rows(
    table: Kernels, fresh: np.ndarray, held: np.ndarray, gate: int, limit: float = 0.0, shift: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """As commit, of held rows that each lie alone; in another order than the fresh ones."""
    if gate == ALL:
        return commit(table, fresh, held, gate, limit, shift)
    sites, c = fresh.shape
    fresh = guarded(fresh, shift)
    rows = [guarded(row, 3 - shift) for row in held[::-1]][::-1]
    places = np.array([row.ctypes.data for row in rows], np.uint64)
    bits = guarded(np.full((sites + 63) // 64, 0x5555555555555555, np.uint64))
    count = table.commit_rows(CommitRowsArgs(address(fresh), address(places), sites, c, gate, limit, address(bits)))
    flags = unpack(bits, sites)
    assert count == flags.sum()
    return flags, np.stack(rows)


def commit_planar(
    table: Kernels, fresh: np.ndarray, held: np.ndarray, gate: int, limit: float = 0.0, gap: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """As commit, through planes with `gap` floats of NaN between them."""
    sites, c = fresh.shape
    plane = sites + gap
    x = np.full((c, plane), np.nan, np.float32)
    x[:, :sites] = fresh.T
    x = guarded(x.reshape(-1)[: x.size - gap], shift=gap % 4)
    rows = guarded(held)
    room = guarded(np.full(PLANAR_SITES * c, np.nan, np.float32))
    bits = guarded(np.full((sites + 63) // 64, 0x5555555555555555, np.uint64))
    args = CommitPlanarArgs(address(x), plane, address(room), address(rows), sites, c, gate, limit, address(bits))
    count = table.commit_planar(args)
    flags = unpack(bits, sites)
    assert count == flags.sum()
    return flags, rows.copy()


def frames(rng: np.random.Generator, sites: int, c: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Held and fresh rows; about `share` of the rows differ, each in one or several channels."""
    held = rng.standard_normal((sites, c), np.float32)
    fresh = held.copy()
    for m in np.flatnonzero(rng.random(sites) < share):
        fresh[m, rng.integers(0, c, rng.integers(1, c + 1))] += np.float32(rng.choice([1e-3, 0.1, 2.0]))
    return fresh, held


@pytest.mark.parametrize("run", [commit, commit_deltas, commit_rows, commit_planar])
@pytest.mark.parametrize("c", CHANNELS)
def test_gates(level: Kernels, reference: Kernels, run, c: int) -> None:
    rng = np.random.default_rng(c)
    for sites in SITES:
        for share in (0.0, 0.3, 1.0):
            fresh, held = frames(rng, sites, c, share)
            squares = ((fresh.astype(np.float64) - held) ** 2).sum(1)
            wants = {ALL: np.ones(sites, bool), EXACT: (fresh != held).any(1), RMS: squares > LIMIT}
            for gate, want in wants.items():
                flags, after = run(level, fresh, held, gate, LIMIT)
                assert (flags == want).all()
                assert same_bits(after, np.where(want[:, None], fresh, held))
                naive = run(reference, fresh, held, gate, LIMIT)
                assert (naive[0] == flags).all()
                assert same_bits(naive[1], after)


@pytest.mark.parametrize("run", [commit, commit_rows, commit_planar])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_one_bit_anywhere(level: Kernels, run, data: st.DataObject) -> None:
    """Exact: a single flipped bit (sign of a zero, payload of a NaN) replaces its row and no other."""
    sites = data.draw(st.integers(1, 150), label="sites")
    c = data.draw(st.integers(1, 140), label="c")
    held = np.random.default_rng(c).choice(np.array([0.0, -0.0, 1.0, np.inf, np.nan], np.float32), (sites, c))
    fresh = held.copy()
    m, j, bit = (data.draw(st.integers(0, top - 1)) for top in (sites, c, 32))
    fresh.view(np.uint32)[m, j] ^= np.uint32(1 << bit)
    extra = data.draw(st.integers(0, 3), label="shift or gap")
    flags, after = run(level, fresh, held, EXACT, 0.0, extra)
    assert np.flatnonzero(flags).tolist() == [m]
    assert same_bits(after, fresh)
    flags, after = run(level, held, held, EXACT, 0.0, extra)
    assert not flags.any()
    assert same_bits(after, held)


@pytest.mark.parametrize("run", [commit, commit_deltas, commit_rows, commit_planar])
@pytest.mark.parametrize("c", [1, 3, 16, 21, 100])
def test_nan_replaces_under_a_limit(level: Kernels, run, c: int) -> None:
    held = np.zeros((40, c), np.float32)
    fresh = held.copy()
    fresh[7, c - 1] = np.nan
    held[11, 0] = np.nan
    flags, _ = run(level, fresh, held, RMS, 1e30)
    assert np.flatnonzero(flags).tolist() == [7, 11]


LANES = {b"portable": 4, b"avx2": 8, b"avx512": 16, b"amx": 16, b"neon": 4}


def fused(a: np.ndarray, b: np.ndarray, acc: np.ndarray, is_fused: bool) -> np.ndarray:
    """a * b + acc in float32, rounded once (through double: the product is exact there) or twice."""
    if not is_fused:
        return a * b + acc
    return (a.astype(np.float64) * b + acc).astype(np.float32)


def lane_sum(level: Kernels, d: np.ndarray) -> np.float32:
    """The sum of squares of one row in the order that table.h states."""
    lanes = LANES[level.name]
    padded = np.zeros(-(-d.size // lanes) * lanes, np.float32)
    padded[: d.size] = d
    acc = np.zeros(lanes, np.float32)
    for group in padded.reshape(-1, lanes):
        acc = fused(group, group, acc, level.name != b"portable")
    while acc.size > 1:
        acc = acc[: acc.size // 2] + acc[acc.size // 2 :]
    return acc[0]


@pytest.mark.parametrize("run", [commit, commit_rows, commit_planar])
@pytest.mark.parametrize("c", CHANNELS)
def test_sum_of_squares_is_in_the_stated_order(level: Kernels, run, c: int) -> None:
    """A row whose sum is exactly the limit holds; under the next smaller limit it replaces."""
    rng = np.random.default_rng(c)
    fresh, held = rng.standard_normal((33, c), np.float32), rng.standard_normal((33, c), np.float32)
    for m in (0, 16, 32):
        limit = lane_sum(level, fresh[m] - held[m])
        assert not run(level, fresh, held, RMS, float(limit))[0][m]
        assert run(level, fresh, held, RMS, float(np.nextafter(limit, np.float32(0))))[0][m]


@pytest.mark.parametrize("run", [commit, commit_rows, commit_planar])
@pytest.mark.parametrize("c", [1, 3, 8, 24, 100])
def test_bits_do_not_depend_on_the_call(level: Kernels, run, c: int) -> None:
    """A row's fate is the same alone and among others, under a limit near the rows' sums."""
    rng = np.random.default_rng(c)
    fresh, held = rng.standard_normal((70, c), np.float32), rng.standard_normal((70, c), np.float32)
    limit = float(np.median(((fresh - held) ** 2).sum(1)))
    whole = run(level, fresh, held, RMS, limit)[0]
    alone = [run(level, fresh[m : m + 1], held[m : m + 1], RMS, limit)[0][0] for m in range(70)]
    assert whole.tolist() == alone
