"""Channel shuffles spelled as Reshape, Transpose and Gather over more axes become one Gather over channels.

Found by trying: the chain is run on an array of indices, and whatever permutes or picks whole channels is one. Those
with computed sizes are left to the rule of Reshape (ops/shuffle.py).
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.normalise.tools import producer, replace, static_shape, values_of
from rrm_onnx.ops import trials

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
LARGEST = 1 << 24  # elements of a map that the trial may take
LONGEST = 6  # nodes in a chain


def join_shuffles(graph: gs.Graph, opset: int) -> None:
    """Rewrite every chain that ends in a map; needs static shapes."""
    for node in list(graph.nodes):
        if node.op in (*RESHAPES, "Transpose", "Gather") and node.outputs:
            join(graph, node)


def join(graph: gs.Graph, root: gs.Node) -> None:
    """Look upwards from `root` for a map of which its output is a choice of channels."""
    shape = static_shape(root.outputs[0])
    if shape is None or len(shape) != 4 or root.outputs[0].dtype != np.float32:
        return
    chain = [root]
    while len(chain) < LONGEST:
        x = chain[-1].inputs[0]
        before = static_shape(x)
        if before is None or int(np.prod(before)) > LARGEST:
            return
        fits = len(before) == 4 and (before[0], *before[2:]) == (shape[0], *shape[2:])
        if fits and len(chain) > 1:
            picked = picked_channels(chain[::-1], before)
            if picked is not None:
                indices = gs.Constant(f"{root.name}/channels", picked)
                replace(graph, root, "Gather", [x, indices], {"axis": 1})
            return
        above = producer(x)
        if above is None or above.op not in (*RESHAPES, "Transpose", "Gather"):
            return
        chain.append(above)


def picked_channels(chain: list[gs.Node], shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Channels c with output[:, i] = input[:, c[i]] for nodes applied in order to a map of `shape`, if that is so."""
    source = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    array: NDArray[np.int64] | None = source
    for node in chain:
        array = None if array is None else applied(node, array)
    return None if array is None else trials.picked_channels(source, array)


def applied(node: gs.Node, array: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The node's result on an array; None where it is not known."""
    if node.op in RESHAPES:
        shape = static_shape(node.outputs[0])
        return array.reshape(shape) if shape is not None and int(np.prod(shape)) == array.size else None
    if node.op == "Transpose":
        return array.transpose(list(node.attrs.get("perm", range(array.ndim)[::-1])))
    indices = values_of(node.inputs[1])
    return None if indices is None else np.take(array, indices, axis=int(node.attrs.get("axis", 0)))
