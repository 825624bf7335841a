"""Which channels of which maps a tensor is made of, through Concat, Slice, Split and Gather over channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.normalise.tools import values_of
from rrm_onnx.ops.base import Facts, Refused
from rrm_onnx.ops.views import slice_ranges, split_lengths

Origin = NDArray[np.int64]
"""A row for each channel: the number of a map in `Views.maps`, the channel of that map."""


@dataclass
class Views:
    """The views of a graph by the id of their tensor. Maps are what they are made of: no views themselves, or none
    `among` the tensors that may be."""

    among: set[int] | None = None
    maps: list[gs.Tensor] = field(default_factory=list)
    origins: dict[int, Origin] = field(default_factory=dict)
    nodes: set[int] = field(default_factory=set)
    shuffled: set[int] = field(default_factory=set)
    """Tensors behind a Gather that does more than a Slice: rows would be copied for it."""
    numbers: dict[int, int] = field(default_factory=dict)

    def origin(self, tensor: gs.Tensor) -> Origin | None:
        """The tensor's channels; None where it is no map with a known number of them."""
        found = self.origins.get(id(tensor))
        if found is not None or not is_map(tensor):
            return found
        number = self.numbers.setdefault(id(tensor), len(self.maps))
        if number == len(self.maps):
            self.maps.append(tensor)
        count = int(tensor.shape[1])
        return np.stack([np.full(count, number), np.arange(count)], axis=1)

    def add(self, node: gs.Node, opset: int) -> None:
        """Note the outputs of a node, if it is a view."""
        made = list(pieces(node, self, opset))
        if not made or any(origin is None for _, origin in made):
            return
        for output, origin in made:
            assert origin is not None
            if self.among is not None and id(output) not in self.among:
                continue
            self.nodes.add(id(node))
            self.origins[id(output)] = origin
            if is_shuffle(node) or any(id(t) in self.shuffled for t in node.inputs):
                self.shuffled.add(id(output))

    def sources(self, tensor: gs.Tensor) -> list[gs.Tensor]:
        """The maps that a view is made of, in the order of their first channel."""
        return [self.maps[n] for n in dict.fromkeys(self.origins[id(tensor)][:, 0].tolist())]


def is_map(tensor: gs.Tensor) -> bool:
    """Float32 of rank 4, computed, with a known number of channels."""
    if isinstance(tensor, gs.Constant) or tensor.dtype != np.float32 or tensor.shape is None or len(tensor.shape) != 4:
        return False
    return isinstance(tensor.shape[1], (int, np.integer)) and int(tensor.shape[1]) > 0


def trace(graph: gs.Graph, opset: int, among: set[int] | None = None) -> Views:
    """The views of a graph, whose nodes are in topological order."""
    views = Views(among)
    for node in graph.nodes:
        views.add(node, opset)
    return views


def is_shuffle(node: gs.Node) -> bool:
    indices = values_of(node.inputs[1]) if node.op == "Gather" else None
    return indices is not None and bool(np.any(np.diff(indices) != 1))


def pieces(node: gs.Node, views: Views, opset: int) -> Iterator[tuple[gs.Tensor, Origin | None]]:
    """Each output of a view with its channels; nothing where the node is no view."""
    if node.op == "Concat" and int(node.attrs.get("axis", 1)) in (1, -3):
        parts = [views.origin(t) for t in node.inputs]
        known = [p for p in parts if p is not None]
        yield node.outputs[0], np.concatenate(known) if len(known) == len(parts) else None
        return
    if node.op not in ("Gather", "Slice", "Split"):
        return
    x = views.origin(node.inputs[0])
    if x is None:
        return
    for output, channels in picked(node, len(x), opset):
        yield output, x[channels]


def picked(node: gs.Node, count: int, opset: int) -> Iterator[tuple[gs.Tensor, NDArray[np.int64]]]:
    """Each output of a Gather, Slice or Split over `count` channels with those that it takes; nothing where another
    axis, or what is not constant, decides."""
    channels = np.arange(count)
    if node.op == "Gather":
        indices = values_of(node.inputs[1])
        if indices is None or indices.ndim != 1 or indices.size == 0 or int(node.attrs.get("axis", 0)) not in (1, -3):
            return
        if int(indices.min()) >= -count and int(indices.max()) < count:
            yield node.outputs[0], channels[indices]
        return
    try:
        if node.op == "Slice":
            ranges = slice_ranges(node, Facts(opset, {}))
            if set(ranges) == {1}:
                yield node.outputs[0], channels[slice(*ranges[1])]
        elif int(node.attrs.get("axis", 0)) in (1, -3):
            ends = np.cumsum(split_lengths(node, count))
            yield from zip(node.outputs, np.split(channels, ends[:-1]), strict=True)
    except Refused:
        return
