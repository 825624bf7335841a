"""Rearrangements that copy rows: Gather over channels, SpaceToDepth, DepthToSpace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.ops.base import (
    Facts,
    OpRule,
    Refused,
    attribute,
    channels_of,
    constant,
    map_input,
    out_fact,
    resized,
    single,
)
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.ops.reference_math import Taps
from rrm_onnx.ops.trials import Shapes, evaluate, picked_channels, trials
from rrm_onnx.ops.views import channel_axis
from rrm_onnx.types import Attribute, EdgeFact, Match, RrmNode

LONGEST = 6  # nodes in a chain
# Stretches of channels that a reader takes where they lie: each costs a convolution of one tap some 4 ns a site, a copy
# 60. A ticket of more is not remembered (custom_ops/ops/ticket_node.h).
MOST_STRETCHES = 10
VECTOR = 16  # floats of the widest registers
MOST_VECTORS = 1.4  # times those of a map in one piece, where a window is read: what a copy costs is about the rest


class GatherRule(OpRule):
    """Gather over axis 1 with constant indices -> rrm.ChannelGather: out[..., i] = in[..., indices[i]];
    rrm.Slice where the indices count up by one, rrm.ChannelRanges where they are a few such stretches.

    Limits: over channels only; the indices are a constant of rank 1.
    """

    makes = ("ChannelGather", "Slice", "ChannelRanges")
    op_types = ("Gather",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        if node.domain == COMPOSITE_DOMAIN:
            return self._of_several(node, facts)
        name, x = map_input(node, 0, facts)
        channel_axis(int(attribute(node, "axis", 0)))
        indices = constant(node, 1)
        if indices is None:
            raise Refused("parameter-not-constant", "the indices are computed by the graph")
        if indices.ndim != 1:
            raise Refused("rank", f"indices of rank {indices.ndim}, only rank 1 is supported")
        channels = channels_of(x)
        if not indices.size or int(indices.min()) < -channels or int(indices.max()) >= channels:
            raise Refused("shape", f"no indices, or indices outside of {channels} channels")
        wrapped = tuple(int(i) % channels for i in indices)
        out = out_fact(x, len(wrapped), x.height, x.width)
        first, stop = wrapped[0], wrapped[0] + len(wrapped)
        if wrapped == tuple(range(first, stop)):  # a view, which copies nothing
            return single(node, "Slice", (name,), {"start": first, "end": stop}, out)
        stretches = lengths(np.array(wrapped), [channels])
        if len(stretches) <= MOST_STRETCHES and not is_ragged(stretches):
            return single(node, "ChannelRanges", (name,), ranges(np.array(wrapped), [channels]), out)
        return single(node, "ChannelGather", (name,), {"indices": wrapped}, out)

    @staticmethod
    def _of_several(node: gs.Node, facts: Facts) -> Match:
        """What normalise/reorder.py writes for a chain of Concat, Gather, Slice and Split."""
        maps = [map_input(node, i, facts) for i in range(len(node.inputs))]
        indices = np.array(node.attrs["indices"])
        known = next((x for _, x in maps if x.sites is not None), maps[0][1])
        out = out_fact(maps[0][1], len(indices), known.height, known.width)
        attributes = ranges(indices, [channels_of(x) for _, x in maps])
        view = single(node, "ChannelRanges", [name for name, _ in maps], attributes, out)
        if not node.attrs["copied"]:
            return view
        pieces = f"{view.outputs[0]}/pieces"
        copy = RrmNode("ChannelGather", node.name, (pieces,), view.outputs, (), {"indices": tuple(range(len(indices)))})
        first = replace(view.emits[0], name=f"{node.name}/pieces", outputs=(pieces,))
        return replace(view, emits=(first, copy), facts={pieces: out, **view.facts})


def ranges(indices: NDArray[np.int64], widths: Sequence[int]) -> dict[str, Attribute]:
    """Channels of a concatenation of maps of these widths, as stretches of channels of each."""
    firsts = np.cumsum([0, *widths])
    source = np.searchsorted(firsts, indices, side="right") - 1
    cuts = [0, *(np.flatnonzero((np.diff(indices) != 1) | (np.diff(source) != 0)) + 1).tolist()]
    starts = (indices - firsts[source])[cuts]
    lengths = np.diff([*cuts, len(indices)])
    return {
        "sources": tuple(source[cuts].tolist()),
        "starts": tuple(starts.tolist()),
        "ends": tuple((starts + lengths).tolist()),
    }


def lengths(indices: NDArray[np.int64], widths: Sequence[int]) -> NDArray[np.int64]:
    """Of these stretches."""
    found = ranges(indices, widths)
    return np.subtract(found["ends"], found["starts"])


def is_ragged(stretches: NDArray[np.int64]) -> bool:
    """Whether there are many more vectors of channels than in one piece, as they do not reach into the next stretch: a
    node with a window computes them all for each of its taps."""
    return int((-(-stretches // VECTOR)).sum()) > MOST_VECTORS * -(-int(stretches.sum()) // VECTOR)


class ReshapeRule(OpRule):
    """Reshape -> rrm.ChannelGather, where it ends a chain of Reshapes and Transposes that moves whole channels, such as
    the shuffle of ShuffleNet. Those of fixed sizes are a Gather by now (normalise/rearrange.py).

    Limits: nothing else may read what lies within the chain; sizes are constant or computed from shapes.
    """

    makes = ("ChannelGather",)
    op_types = ("Reshape",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        chain = [node]
        while len(chain) <= LONGEST:
            x = chain[0].inputs[0]
            fact = facts.edges.get(x.name, EdgeFact())
            picked = moved_channels(chain, x.name, fact) if fact.kind == "map" and len(chain) > 1 else None
            if picked is not None:
                out = out_fact(fact, len(picked), fact.height, fact.width)
                found = single(node, "ChannelGather", (x.name,), {"indices": picked}, out)
                return replace(found, absorbed=tuple(n.name for n in chain[:-1]))
            alone = len(x.outputs) == 1 and x.inputs and x.name not in facts.outputs
            if not alone or x.inputs[0].op not in ("Reshape", "Transpose"):
                break
            chain.insert(0, x.inputs[0])
        raise Refused("op-unsupported", "it does more than move whole channels")


def moved_channels(chain: Sequence[gs.Node], name: str, fact: EdgeFact) -> tuple[int, ...] | None:
    """The channels of the map `name` that a chain leaves, whatever the map's size; None where it leaves others."""
    found = set()
    for (shape,) in trials(fact):
        source = np.arange(math.prod(shape)).reshape(shape)
        array: NDArray[np.int64] | None = source
        for node in chain:
            array = None if array is None else moved(node, array, {name: shape})
        picked = None if array is None else picked_channels(source, array)
        found.add(None if picked is None else tuple(picked.tolist()))
    return found.pop() if len(found) == 1 else None


def moved(node: gs.Node, array: NDArray[np.int64], shapes: Shapes) -> NDArray[np.int64] | None:
    """What a Reshape or Transpose makes of an array; None where it is not known, or does not fit."""
    if node.op == "Transpose":
        perm = list(attribute(node, "perm", range(array.ndim)[::-1]))
        return array.transpose(perm) if len(perm) == array.ndim else None
    sizes = evaluate(node.inputs[1], shapes)
    if sizes is None or (int(attribute(node, "allowzero", 0)) and 0 in sizes):
        return None
    wanted = [array.shape[k] if v == 0 and k < array.ndim else int(v) for k, v in enumerate(sizes.ravel())]
    rest = math.prod(v for v in wanted if v != -1)
    fits = rest > 0 and (array.size % rest == 0 if wanted.count(-1) == 1 else array.size == rest)
    return array.reshape(wanted) if fits else None


class SpaceToDepthRule(OpRule):
    """SpaceToDepth -> rrm.SpaceToDepth.

    Limits: none.
    """

    op_types = ("SpaceToDepth",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        block = int(attribute(node, "blocksize", 1))
        out = resized(x, channels_of(x) * block * block, lambda h: h // block, lambda w: w // block)
        return single(node, "SpaceToDepth", (name,), {"blocksize": block}, out)


class DepthToSpaceRule(OpRule):
    """DepthToSpace -> rrm.DepthToSpace.

    Limits: none.
    """

    op_types = ("DepthToSpace",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        block, mode = int(attribute(node, "blocksize", 1)), str(attribute(node, "mode", "DCR"))
        if channels_of(x) % (block * block):
            raise Refused("shape", f"{channels_of(x)} channels do not divide by blocksize {block} squared")
        out = resized(x, channels_of(x) // (block * block), lambda h: h * block, lambda w: w * block)
        return single(node, "DepthToSpace", (name,), {"blocksize": block, "mode": mode}, out)


# --- NumPy definition ----------------------------------------------------------------------------------------------


class SpaceToDepth(SiteOp):
    """ONNX's SpaceToDepth: a block of sites becomes one site; channel = (block row, block column, input channel)."""

    blocksize: int

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        if shapes[0][0] % self.blocksize or shapes[0][1] % self.blocksize:
            raise ValueError(f"SpaceToDepth: {shapes[0][:2]} is no multiple of the block size {self.blocksize}")
        return shapes[0][0] // self.blocksize, shapes[0][1] // self.blocksize

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        return Taps(np.arange(size * self.blocksize).reshape(size, self.blocksize) for size in out)

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        h, w = self.output_shape([maps[0].shape])
        b, c = self.blocksize, maps[0].shape[2]
        return maps[0].reshape(h, b, w, b, c).transpose(0, 2, 1, 3, 4).reshape(h, w, b * b * c)


class DepthToSpace(SiteOp):
    """ONNX's DepthToSpace: a site becomes a block; its channels are (block row, block column, output channel) in mode
    DCR, (output channel, block row, block column) in mode CRD."""

    blocksize: int
    mode: str

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        return shapes[0][0] * self.blocksize, shapes[0][1] * self.blocksize

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        return Taps(np.arange(size)[:, None] // self.blocksize for size in out)

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        h, w, depth = maps[0].shape
        b = self.blocksize
        c = depth // (b * b)
        if self.mode == "DCR":
            blocks = maps[0].reshape(h, w, b, b, c).transpose(0, 2, 1, 3, 4)
        else:
            blocks = maps[0].reshape(h, w, c, b, b).transpose(0, 3, 1, 4, 2)
        return blocks.reshape(h * b, w * b, c)


class ChannelGather(SiteOp):
    """Channels in another order: `out[..., i] = in[..., indices[i]]`. Rows are copied."""

    indices: list[int]

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        return maps[0][..., self.indices]
