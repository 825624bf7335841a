"""Linear layers on all places of a map of fixed size (as in VGG) become convolutions.

Flatten, Gemm  ->  Conv whose window is the whole map, 1x1 map, Flatten

and what follows on vectors (activations, sums with constants, further linear layers) runs on 1x1 maps: what leaves the
region is the last vector in place of the map. A frame in which nothing changed skips these layers, and under a
tolerance only the places that changed meet their weights. It is done only where the vector is no larger than the map
was, where nothing else reads the flattened map, and behind a convolution: a network of linear layers alone stays.

A map of one place (a pooled one) is as small as its vector, so its layers stay as they are; but see points.py.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.common import free_name
from rrm_onnx.normalise.layout import TO_NHWC, permutation
from rrm_onnx.normalise.points import UNARY, dense_layer
from rrm_onnx.normalise.tools import is_sole_reader, producer, retire, values_of

Window = tuple[int, int, int]
"""Channels, height and width of the map that a vector stands for."""


def lift_heads(graph: gs.Graph, opset: int) -> None:
    """Rewrite every place of the pattern."""
    for node in list(graph.nodes):
        if node.op in ("Flatten", "Reshape") and node.outputs:
            lift_head(graph, node)


def lift_head(graph: gs.Graph, flatten: gs.Node) -> None:
    """`flatten` makes one row of each picture's map."""
    turn = producer(flatten.inputs[0])
    last = turn is not None and permutation(turn) == TO_NHWC and is_sole_reader(graph, flatten, turn.outputs[0])
    x = turn.inputs[0] if turn is not None and last else flatten.inputs[0]
    flat, window = flatten.outputs[0], window_of(x)
    if window is None or prod(window[1:]) == 1 or not is_rows(flat, prod(window)) or is_end(graph, flat):
        return
    layers = [dense_layer(n) for n in flat.outputs]
    sizes = [0 if w is None else len(w[0]) for w in layers]
    if not all(n.inputs[0] is flat for n in flat.outputs) or not all(sizes) or sum(sizes) > prod(window):
        return
    if behind_convolution(x):
        Head(graph, window, last).follow(flat, x)


def window_of(x: gs.Tensor) -> Window | None:
    """Channels, height and width of a map; None where one of them is open."""
    shape = x.shape
    if x.dtype != np.float32 or shape is None or len(shape) != 4:
        return None
    c, h, w = shape[1:]
    return (c, h, w) if all(isinstance(d, int) and d > 0 for d in (c, h, w)) else None


def is_rows(tensor: gs.Tensor, size: int) -> bool:
    return tensor.shape is not None and len(tensor.shape) == 2 and tensor.shape[1] == size


def is_end(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether a tensor is an output of the graph, or nothing that `Head` may change reads it."""
    own = {id(n) for n in graph.nodes}
    return (
        any(tensor is o for o in graph.outputs) or not tensor.outputs or any(id(n) not in own for n in tensor.outputs)
    )


def behind_convolution(x: gs.Tensor) -> bool:
    """Whether a convolution stands somewhere before."""
    seen: set[int] = set()
    open_ = [x]
    while open_:
        node = producer(open_.pop())
        if node is None or id(node) in seen:
            continue
        if node.op in ("Conv", "ConvTranspose"):
            return True
        seen.add(id(node))
        open_ += node.inputs
    return False


class Head:
    """The layers behind one flattened map."""

    def __init__(self, graph: gs.Graph, window: Window, last: bool) -> None:
        """last: whether the channels come last in the flattened map."""
        self.graph, self.window, self.last = graph, window, last
        self.taken = {*graph.tensors(), *(n.name for n in graph.nodes)}

    def follow(self, vector: gs.Tensor, fmap: gs.Tensor) -> None:
        """Move what reads `vector` to `fmap`, the map with the same values, as far as all of it can move."""
        readers = list(vector.outputs)
        if tuple(fmap.shape[1:]) == self.window or (  # `lift_head` has looked at the readers of the first
            not is_end(self.graph, vector) and all(movable(n, vector, fmap.shape[1]) for n in readers)
        ):
            for node in readers:
                self.move(node, vector, fmap)
            return
        self.graph.nodes.append(gs.Node("Flatten", self.name(f"{vector.name}/Flatten"), {"axis": 1}, [fmap], [vector]))

    def move(self, node: gs.Node, vector: gs.Tensor, fmap: gs.Tensor) -> None:
        """Put the node, with its name, on the map, and what follows it on the result."""
        result, name, layer = node.outputs[0], node.name, dense_layer(node)
        channels = fmap.shape[1] if layer is None else len(layer[0])
        point = gs.Variable(self.name(f"{result.name}/point"), np.dtype(np.float32), [fmap.shape[0], channels, 1, 1])
        if layer is None:
            inputs = [fmap if t is vector else self.spread(t) for t in node.inputs]
            made = gs.Node(node.op, name, dict(node.attrs), inputs, [point], node.domain)
        else:
            weight = self.folded(layer[0], tuple(fmap.shape[1:]))
            constants = [self.constant(f"{name}/weight", weight), self.constant(f"{name}/bias", layer[1])]
            made = gs.Node("Conv", name, {"kernel_shape": list(weight.shape[2:])}, [fmap, *constants], [point])
        retire(node)
        node.name = f"{name}/replaced"
        self.graph.nodes.append(made)
        self.follow(result, point)

    def folded(self, weight: NDArray[np.float32], window: tuple[int, ...]) -> NDArray[np.float32]:
        """[M, K] -> [M, C, H, W], in the order in which the map was flattened."""
        c, h, w = window
        if self.last:
            return np.ascontiguousarray(weight.reshape(-1, h, w, c).transpose(0, 3, 1, 2))
        return np.ascontiguousarray(weight.reshape(-1, c, h, w))

    def spread(self, tensor: gs.Tensor) -> gs.Tensor:
        """A constant [M] or [1, M] as one value a channel; other parameters as they are."""
        values = values_of(tensor)
        if values is None or values.size == 1:
            return tensor
        return self.constant(f"{tensor.name}/point", values.reshape(1, -1, 1, 1))

    def constant(self, name: str, values: NDArray[np.float32]) -> gs.Constant:
        return gs.Constant(self.name(name), values)

    def name(self, wanted: str) -> str:
        found = free_name(wanted, self.taken)
        self.taken.add(found)
        return found


def movable(node: gs.Node, vector: gs.Tensor, channels: int) -> bool:
    """Whether a node on a vector [N, channels] is one on a 1x1 map as well."""
    if not node.outputs or not is_row(node.outputs[0]):
        return False
    if dense_layer(node) is not None:
        return node.inputs[0] is vector
    others = [t for t in node.inputs if t is not vector]
    if node.op in UNARY:
        return all(isinstance(t, gs.Constant) or t.is_empty() for t in others)
    return node.op in ("Add", "Sub", "Mul", "Div") and len(others) == 1 and fits(others[0], channels)


def is_row(tensor: gs.Tensor) -> bool:
    return tensor.shape is not None and len(tensor.shape) == 2 and isinstance(tensor.shape[1], int)


def fits(tensor: gs.Tensor, channels: int) -> bool:
    """Whether a constant is one value, or one a channel."""
    values = values_of(tensor)
    if values is None or values.dtype != np.float32 or values.ndim > 2:
        return False
    return values.size == 1 or (values.size == values.shape[-1] == channels)
