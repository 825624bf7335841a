"""How far one answer lies from another. NumPy only: programs that run a converted model import nothing else of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def worst_error(got: Sequence[Array], want: Sequence[Array]) -> float:
    """Relative L2 of the worst floating-point output; of the worst output where none is floating-point."""
    pairs = [(g, w) for g, w in zip(got, want, strict=True) if w.dtype.kind == "f"] or list(zip(got, want, strict=True))
    return float(np.max([relative_l2(g, w) for g, w in pairs if w.dtype.kind in "fiub"]))  # a NaN stays


def relative_l2(got: Array, want: Array) -> float:
    """|got - want| / |want| in float64. Places where both are NaN, or the same infinity, count as equal."""
    if got.shape != want.shape:
        return float("inf")
    a, b = got.astype(np.float64, copy=False), want.astype(np.float64, copy=False)
    distance = _norm(difference(a, b))
    size = _norm(np.where(np.isfinite(b), b, 0.0))
    return 0.0 if distance == 0 else distance / max(size, 1e-12)


def same_bits(a: Array, b: Array) -> bool:
    """Same shape, type and bytes: NaNs and the sign of zero count."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tolist() == b.tolist() if a.dtype.hasobject else a.tobytes() == b.tobytes()


def difference(a: Array, b: Array) -> Array:
    """a - b, with 0 where both are NaN or the same infinity."""
    with np.errstate(invalid="ignore"):
        return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, a - b)


def _norm(a: Array) -> float:
    """np.linalg.norm, without a BLAS: the threads of one spin for some milliseconds after each call, and would take the
    cores from the frame that is timed next."""
    return float(np.sqrt(np.sum(np.square(a))))
