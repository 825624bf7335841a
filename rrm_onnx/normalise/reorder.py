"""Channels in an order in which a shuffle between convolutions is a view.

Nobody outside sees in which order the channels of an inner map stand, as long as those that make it (rows of a
convolution's weights) and those that read it (its input channels) agree. So, where all readers follow:

- a convolution gives its channels in the order in which they are read: first those that the next block takes, then
  those of the one after;
- a map that is picked from others by Concat, Gather, Slice and Split, whatever their chain, becomes one Gather of the
  composite domain over the maps themselves, in ascending order of their channels: a few ranges, which cost nothing.

Elsewhere (an output, an operator that looks at the order) the tensor and all that it is made of stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.normalise.follow import WINDOWS, follow, followed, give, giver
from rrm_onnx.normalise.tools import replace, values_of
from rrm_onnx.normalise.views import Origin, Views, trace
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN
from rrm_onnx.ops.shuffle import MOST_STRETCHES, is_ragged, lengths

Order = NDArray[np.int64]
"""A tensor's channel i is what was channel order[i]."""


def reorder(graph: gs.Graph, opset: int) -> None:
    """Rewrite all views behind a shuffle whose order nobody sees."""
    every = trace(graph, opset)
    if not every.shuffled:
        return
    free = followed(graph, every.nodes)
    views = trace(graph, opset, free)  # a shuffle that stays is a map to what is picked from it
    read = [t for t in viewed(graph, views) if any(id(r) not in views.nodes for r in t.outputs)]
    wanted = wanted_orders(views, read, free)
    orders: dict[int, Order] = {}
    picks = {id(t) for t in read}
    for node in list(graph.nodes):
        if id(node) not in views.nodes:
            follow(node, orders)
            if id(node) in wanted:
                give(node, wanted[id(node)])
                orders[id(node.outputs[0])] = wanted[id(node)]
            continue
        views.add(node, opset)  # again: what was copied meanwhile is a map of its own
        for tensor in [t for t in node.outputs if id(t) in picks]:
            if all(id(t) in picks or id(t) not in views.origins for t in node.inputs) and node.op == "Concat":
                orders[id(tensor)] = joined(node, orders)
            elif id(tensor) in views.shuffled or any(id(t) in orders for t in views.sources(tensor)):
                orders[id(tensor)] = rewrite(graph, tensor, views, orders)
                views.shuffled.add(id(tensor))  # what is picked from it has to be looked for anew


def joined(concat: gs.Node, orders: dict[int, Order]) -> Order:
    """The order of a Concat's output where each input has one that its readers know of."""
    starts = np.cumsum([0, *(int(t.shape[1]) for t in concat.inputs)])
    own = [orders.get(id(t), np.arange(int(t.shape[1]))) for t in concat.inputs]
    return np.concatenate([start + order for start, order in zip(starts, own, strict=False)])


def viewed(graph: gs.Graph, views: Views) -> Iterator[gs.Tensor]:
    for node in graph.nodes:
        yield from (t for t in node.outputs if id(t) in views.origins)


def wanted_orders(views: Views, read: list[gs.Tensor], free: set[int]) -> dict[int, Order]:
    """By id of a convolution: the order of its channels in which those that are picked together stand together."""
    wanted: dict[int, Order] = {}
    for number, tensor in enumerate(views.maps):
        conv = giver(tensor, free)
        count = int(tensor.shape[1])
        takers = [np.isin(np.arange(count), o[o[:, 0] == number, 1]) for o in (views.origins[id(t)] for t in read)]
        takers = [t for t in takers if t.any() and not t.all()]
        if conv is None or not takers:
            continue
        order = np.lexsort([~t for t in takers[::-1]])  # those of the first that takes some come first
        ordered, now = (
            sum(len(lengths(np.flatnonzero(t), [count])) for t in some) for some in ([t[order] for t in takers], takers)
        )
        if ordered < now:
            wanted[id(conv)] = order
    return wanted


def rewrite(graph: gs.Graph, tensor: gs.Tensor, views: Views, orders: dict[int, Order]) -> Order:
    """Make a view anew from the maps themselves, their channels ascending. Returns the order of its channels now."""
    origin = views.origins[id(tensor)]
    numbers = list(dict.fromkeys(origin[:, 0].tolist()))
    maps = [views.maps[n] for n in numbers]
    places = np.stack([placed(origin, n, views.maps[n], orders) for n in numbers]).max(axis=0)
    source = np.argmax(origin[:, :1] == np.array(numbers), axis=1)
    order: Order = np.lexsort((places, source))
    starts = np.cumsum([0, *(int(m.shape[1]) for m in maps)])
    indices = starts[source[order]] + places[order]
    if np.array_equal(indices, np.arange(starts[-1])):
        make(graph, tensor, "Concat", maps, {"axis": 1})
        return order
    stretches = lengths(indices, [int(m.shape[1]) for m in maps])
    copied = len(stretches) > MOST_STRETCHES or (has_window(tensor) and is_ragged(stretches))
    make(graph, tensor, "Gather", maps, {"indices": indices.tolist(), "copied": int(copied)}, COMPOSITE_DOMAIN)
    if copied:
        del views.origins[id(tensor)]
    return order


def has_window(tensor: gs.Tensor) -> bool:
    """Whether a reader takes several sites for one, and so reads each row several times."""
    return any(r.op in WINDOWS or (r.op == "Conv" and not is_pointwise(r)) for r in tensor.outputs)


def is_pointwise(conv: gs.Node) -> bool:
    return tuple(np.asarray(values_of(conv.inputs[1])).shape[2:]) == (1, 1)


def placed(origin: Origin, number: int, tensor: gs.Tensor, orders: dict[int, Order]) -> NDArray[np.int64]:
    """Where each channel of a view stands in a map by now; -1: not in this map."""
    order = orders.get(id(tensor))
    now = np.arange(int(tensor.shape[1])) if order is None else np.argsort(order)
    here = origin[:, 0] == number
    places = np.full(len(origin), -1)
    places[here] = now[origin[here, 1]]
    return places


def make(
    graph: gs.Graph, tensor: gs.Tensor, op: str, inputs: list[gs.Tensor], attrs: dict[str, object], domain: str = ""
) -> gs.Node:
    """A node that takes over a view's tensor, and its name where the view has no other output."""
    (root,) = tensor.inputs
    if len(root.outputs) == 1:
        return replace(graph, root, op, inputs, attrs, domain or None)
    index = next(i for i, t in enumerate(root.outputs) if t is tensor)
    root.outputs[index] = gs.Variable(f"{tensor.name}/before", tensor.dtype, tensor.shape)
    node = gs.Node(op, f"{root.name}/picked_{index}", attrs, inputs, [tensor], domain or None)
    graph.nodes.append(node)
    return node
