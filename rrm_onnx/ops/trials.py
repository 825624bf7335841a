"""Sizes that the graph computes, found out by trying: the whole numbers behind a tensor, for maps of given shapes.

An exporter that leaves sizes open writes Shape, Gather, Concat and arithmetic in place of a constant. What comes of it
is worked out for a few made-up shapes, and compared with what a rule can express.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.types import EdgeFact

Shapes = Mapping[str, tuple[int, ...]]
DEEPEST = 24  # nodes between a Shape and what is made of it
ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}
ROUNDING: Mapping[str, Callable[[Any], Any]] = {"Floor": np.floor, "Ceil": np.ceil, "Identity": np.asarray}
# Height and width of the maps in turn, for unknown ones: without common factors, the second larger and smaller.
TRIALS = (((6, 10), (13, 21)), ((35, 22), (17, 9)), ((7, 3), (7, 5)))
# A first map that is larger than the second by an even and an odd number, whichever of the two is known: only negative
# odd differences tell rounding down from rounding towards zero.
LARGER = (((1001, 1000), (2, 1)), ((1000, 1001), (1, 2)))
BATCH = 2


def trials(*facts: EdgeFact) -> Iterator[list[tuple[int, int, int, int]]]:
    """Made-up shapes for one map or two, whatever is known of them kept."""
    for sizes in (*TRIALS, *(LARGER if len(facts) > 1 else ())):
        yield [
            (f.batch or BATCH, f.channels or 1, f.height or h, f.width or w)
            for f, (h, w) in zip(facts, sizes, strict=False)
        ]


def sources(tensor: gs.Tensor, depth: int = DEEPEST) -> dict[str, None]:
    """Names of the tensors whose Shape a tensor is computed from."""
    if isinstance(tensor, gs.Constant) or not tensor.inputs or not depth:
        return {}
    node = tensor.inputs[0]
    if node.op == "Shape":
        return {node.inputs[0].name: None}
    return {name: None for t in node.inputs for name in sources(t, depth - 1)}


def size_giver(
    tensor: gs.Tensor, own: str, edges: Mapping[str, EdgeFact], fits: Callable[[str, EdgeFact], bool]
) -> tuple[str, EdgeFact] | None:
    """The first map but `own` whose Shape a tensor is computed from and that `fits`, with its fact."""
    for like in sources(tensor):
        fact = edges.get(like, EdgeFact())
        if fact.kind == "map" and like != own and fits(like, fact):
            return like, fact
    return None


def evaluate(tensor: gs.Tensor, shapes: Shapes, depth: int = DEEPEST) -> NDArray[Any] | None:
    """The values of a tensor that follow from the shapes of some maps; None where it is not known how."""
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values)
    if not tensor.inputs or not depth:
        return None
    node = tensor.inputs[0]
    if node.op == "Shape":
        return shape_of(node, shapes)
    inputs = [None if t.is_empty() else evaluate(t, shapes, depth - 1) for t in node.inputs]
    if any(v is None and not t.is_empty() for v, t in zip(inputs, node.inputs, strict=True)):
        return None
    if any(v is None for v in inputs[:-1]):  # what stands behind an absent input would be taken for it
        return None
    try:
        return computed(node, [v for v in inputs if v is not None])
    except (ValueError, IndexError):  # arithmetic over more axes than is followed here
        return None


def shape_of(node: gs.Node, shapes: Shapes) -> NDArray[Any] | None:
    x = node.inputs[0]
    shape = shapes.get(x.name)
    if shape is None:
        if x.shape is None or not all(isinstance(d, (int, np.integer)) for d in x.shape):
            return None
        shape = tuple(int(d) for d in x.shape)
    return np.array(shape[node.attrs.get("start", 0) : node.attrs.get("end")], np.int64)


def computed(node: gs.Node, values: list[NDArray[Any]]) -> NDArray[Any] | None:
    """What a node makes of known values, for the operators that sizes go through."""
    x = values[0] if values else np.zeros(0)
    if node.op in ARITHMETIC:
        return np.asarray(ARITHMETIC[node.op](x, values[1]))
    if node.op == "Div" and np.all(values[1] != 0):
        whole = x.dtype.kind == "i"
        return np.asarray(np.trunc(x / values[1]).astype(x.dtype) if whole else x / values[1])
    if node.op in ROUNDING:
        return np.asarray(ROUNDING[node.op](x))
    if node.op == "Cast":
        return x.astype(np.float32 if node.attrs["to"] in (1, 10, 11) else np.int64)
    if node.op == "Concat":
        return np.concatenate([np.atleast_1d(v) for v in values])
    if node.op == "Gather" and x.ndim == 1:
        return np.asarray(x[values[1]])
    if node.op in ("Unsqueeze", "Reshape", "Flatten"):
        return x.reshape(-1)
    if node.op == "Squeeze":
        return x.reshape(()) if x.size == 1 else None
    return sliced(node, values) if node.op == "Slice" and x.ndim == 1 else None


def picked_channels(source: NDArray[np.int64], moved: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Channels c with moved[:, i] = source[:, c[i]], if that is so. source: a map that holds 0, 1, 2 and so on."""
    if moved.ndim != 4 or not moved.size:
        return None
    _, channels, height, width = source.shape
    picked = moved[0, :, 0, 0] // (height * width) % channels
    return picked if np.array_equal(moved, source[:, picked]) else None


def sliced(node: gs.Node, values: list[NDArray[Any]]) -> NDArray[Any]:
    """Slice of a vector, its bounds as attributes or as inputs."""
    if "starts" in node.attrs:
        return values[0][int(node.attrs["starts"][0]) : int(node.attrs["ends"][0])]
    start, end = (int(v.reshape(())) for v in values[1:3])
    step = int(values[4].reshape(())) if len(values) > 4 else 1
    return values[0][slice(start, end, step)]
