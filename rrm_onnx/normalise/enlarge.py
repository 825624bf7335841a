"""Nearest upsampling spelled out with Reshape and Concat, Expand or Tile becomes one Resize.

Found by trying, as channel shuffles are (rearrange.py): the chain is run on an array of indices.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.common import free_name
from rrm_onnx.normalise.rearrange import LARGEST, LONGEST, RESHAPES, applied
from rrm_onnx.normalise.tools import producer, replace, static_shape

REPEATS = ("Concat", "Expand", "Tile")


def join_enlargements(graph: gs.Graph, opset: int) -> None:
    """Rewrite every chain that ends in a map; needs static shapes."""
    for node in list(graph.nodes):
        if node.op in (*RESHAPES, *REPEATS) and node.outputs and node.outputs[0].dtype == np.float32:
            join(graph, node, opset)


def join(graph: gs.Graph, root: gs.Node, opset: int) -> None:
    """Look upwards from `root` for a map that its output shows with every site repeated."""
    shape, chain = static_shape(root.outputs[0]), [root]
    while shape is not None and len(shape) == 4 and len(chain) <= LONGEST:
        x = chain[-1].inputs[0]
        before = static_shape(x)
        if before is None or int(np.prod(shape)) > LARGEST or any(t is not x for t in joined(chain[-1])):
            return
        if any(n.op in REPEATS for n in chain) and len(before) == 4 and before[:2] == shape[:2]:
            times = repeats(chain[::-1], before, shape)
            if times is not None:
                enlarge(graph, root, x, times, opset)
            return
        above = producer(x)
        if above is None or above.op not in (*RESHAPES, *REPEATS, "Transpose"):
            return
        chain.append(above)


def joined(node: gs.Node) -> list[gs.Tensor]:
    """The maps that a Concat puts together."""
    return list(node.inputs) if node.op == "Concat" else []


def repeats(chain: list[gs.Node], before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, int] | None:
    """How often the nodes repeat each row and each column, if that is all they do."""
    down, across = after[2] // before[2], after[3] // before[3]
    if down * across < 2 or (before[2] * down, before[3] * across) != after[2:]:
        return None
    source = np.arange(int(np.prod(before)), dtype=np.int64).reshape(before)
    array: NDArray[np.int64] | None = source
    for node in chain:
        array = None if array is None else repeated(node, array)
    wanted = source.repeat(down, axis=2).repeat(across, axis=3)
    return (down, across) if array is not None and np.array_equal(array, wanted) else None


def repeated(node: gs.Node, array: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The node's result on an array; None where it is not known."""
    shape = static_shape(node.outputs[0])
    if node.op not in REPEATS:
        return applied(node, array)
    if node.op == "Concat":
        return np.concatenate([array] * len(node.inputs), axis=int(node.attrs["axis"]))
    if shape is None or len(shape) != array.ndim:
        return None
    if node.op == "Tile":
        return np.tile(array, [a // b for a, b in zip(shape, array.shape, strict=True)])
    return np.broadcast_to(array, shape)


def enlarge(graph: gs.Graph, root: gs.Node, x: gs.Tensor, times: tuple[int, int], opset: int) -> None:
    """In the spelling of the opset."""
    scales = [1.0, 1.0, float(times[0]), float(times[1])]
    if opset < 9:
        replace(graph, root, "Upsample", [x], {"mode": "nearest", "scales": scales})
        return
    name = free_name(f"{root.name}/scales", graph.tensors())
    given = gs.Constant(name, np.array(scales, np.float32))
    if opset < 11:
        replace(graph, root, "Upsample" if opset == 9 else "Resize", [x, given], {"mode": "nearest"})
        return
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    region = gs.Constant(free_name(f"{root.name}/roi", graph.tensors()), np.zeros(0, np.float32))  # opset 11 wants one
    replace(graph, root, "Resize", [x, region, given], attrs)
