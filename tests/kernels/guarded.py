"""Arrays that end at a page that must not be touched: a read or write past them is a segmentation fault."""

import ctypes as ct
import mmap
import weakref

import numpy as np

_libc = ct.CDLL(None, use_errno=True)
_libc.mmap.restype = ct.c_void_p
_libc.mmap.argtypes = [ct.c_void_p, ct.c_size_t, ct.c_int, ct.c_int, ct.c_int, ct.c_long]
_libc.mprotect.argtypes = [ct.c_void_p, ct.c_size_t, ct.c_int]
_libc.munmap.argtypes = [ct.c_void_p, ct.c_size_t]

PAGE = mmap.PAGESIZE
NAN = np.float32(np.nan)


def guarded(values: np.ndarray, shift: int = 0, front: bool = False) -> np.ndarray:
    """A copy of `values` in its own mapping, between two pages without access.

    It ends `shift` elements before the rear page, or, with `front`, begins `shift` elements behind the front page; the
    rest of the mapping is 0xff bytes (NaN as floats). The address is a multiple of the element's size, not more.
    """
    values = np.ascontiguousarray(values)
    space = values.nbytes + shift * values.itemsize
    inner = max(1, -(-space // PAGE)) * PAGE
    access, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    base = _libc.mmap(None, inner + 2 * PAGE, access, kind, -1, 0)
    if base in (None, ct.c_void_p(-1).value):
        raise MemoryError("mmap failed")
    ct.memset(base + PAGE, 0xFF, inner)
    for guard in (base, base + PAGE + inner):
        if _libc.mprotect(guard, PAGE, 0) != 0:
            raise OSError(ct.get_errno(), "mprotect failed")
    start = base + PAGE + (shift * values.itemsize if front else inner - space)
    owner = (ct.c_char * values.nbytes).from_address(start)
    weakref.finalize(owner, _libc.munmap, base, inner + 2 * PAGE)
    array = np.frombuffer(owner, dtype=values.dtype).reshape(values.shape)
    array[...] = values
    return array


def address(array: np.ndarray | None) -> int | None:
    """Where the array's first element lies; None for a null pointer."""
    return None if array is None else array.ctypes.data


def spaced(values: np.ndarray, stride: int, fill: float = np.nan) -> np.ndarray:
    """Rows of `values` [m, c] every `stride` floats in a flat array; `fill` in the gaps, none behind the last row."""
    m, c = values.shape
    flat = np.full((m - 1) * stride + c if m else 0, fill, np.float32)
    for i in range(m):
        flat[i * stride : i * stride + c] = values[i]
    return flat


def rows_of(flat: np.ndarray, m: int, c: int, stride: int) -> np.ndarray:
    """The [m, c] view of what `spaced` made."""
    return np.lib.stride_tricks.as_strided(flat, (m, c), (4 * stride, 4))


def gaps_untouched(flat: np.ndarray, m: int, c: int, stride: int) -> bool:
    """Whether all floats between the rows are still NaN."""
    mask = np.ones(flat.size, bool)
    for i in range(m):
        mask[i * stride : i * stride + c] = False
    return bool(np.isnan(flat[mask]).all())


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equality of bits: NaN equals itself, -0.0 differs from 0.0."""
    return a.shape == b.shape and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
