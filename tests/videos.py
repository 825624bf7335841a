"""Short videos for any model: a smooth picture in which a box moves, a few pixels flicker, and frames repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

Feed = dict[str, np.ndarray]


def video(model: onnx.ModelProto, sizes: Mapping[str, Sequence[int]], seed: int = 0) -> list[Feed]:
    """Six feeds: a picture, a box in it changed, the same again, single pixels, another box, the second again.

    `sizes`: of inputs with open sizes. Inputs that are no maps are drawn once and stay.
    """
    rng = np.random.default_rng(seed)
    held = {t.name for t in model.graph.initializer}
    first = {i.name: drawn(rng, i, sizes.get(i.name)) for i in model.graph.input if i.name not in held}
    boxed = {k: with_box(rng, v) for k, v in first.items()}
    dotted = {k: with_pixels(rng, v) for k, v in boxed.items()}
    return [first, boxed, boxed, dotted, {k: with_box(rng, v) for k, v in dotted.items()}, boxed]


def drawn(rng: np.random.Generator, value: onnx.ValueInfoProto, size: Sequence[int] | None) -> np.ndarray:
    """Values for an input: smooth over the picture, of about unit size, or 0 to 255 for whole numbers."""
    kind = value.type.tensor_type
    shape = tuple(size or (d.dim_value or 1 for d in kind.shape.dim))
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    values = np.asarray(rng.normal(0, 1, shape))
    for axis in plane(shape):
        for _ in range(3):
            values = (values + np.roll(values, 1, axis)) * np.sqrt(0.5)
    if np.issubdtype(dtype, np.integer):
        values = np.clip(values * 40 + 128, 0, 255)
    return np.asarray(values.astype(dtype))


def plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of height and width of a map: the two longest but for the batch; of a map of one dimension its length;
    none for anything else."""
    if len(shape) == 3:
        return (2,)
    if len(shape) != 4:
        return ()
    return tuple(sorted(sorted(range(1, 4), key=lambda a: shape[a])[1:]))


def region(x: np.ndarray, *ranges: slice) -> tuple[slice, ...]:
    """The index of a part of the picture."""
    index = [slice(None)] * x.ndim
    for axis, part in zip(plane(x.shape), ranges, strict=True):
        index[axis] = part
    return tuple(index)


def with_box(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A copy in which a box of about a ninth of the picture is another."""
    axes = plane(x.shape)
    if not axes:
        return x
    starts = [int(rng.integers(0, max(x.shape[a] * 2 // 3, 1))) for a in axes]
    at = region(x, *(slice(s, s + max(x.shape[a] // 3, 1)) for s, a in zip(starts, axes, strict=True)))
    copy = x.copy()
    copy[at] = copy[at][..., ::-1]
    copy[at] += np.asarray(1).astype(x.dtype)
    return copy


def with_pixels(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A copy in which three places have another value."""
    axes = plane(x.shape)
    copy = x.copy()
    for _ in range(3 if axes else 0):
        at = region(x, *(slice(s, s + 1) for s in (int(rng.integers(x.shape[a])) for a in axes)))
        copy[at] += np.asarray(2).astype(x.dtype)
    return copy
