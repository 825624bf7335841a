"""Views over channels: Concat, Slice, Split and ranges of channels only rewrite the segments of a ticket.

A Slice of height or width is a Pad with negative pads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.ops.base import (
    Facts,
    OpRule,
    Refused,
    attribute,
    channels_of,
    has_input,
    map_input,
    out_fact,
    parameter,
    single,
)
from rrm_onnx.ops.pad import padded
from rrm_onnx.ops.reference_base import RrmOp, Segment, Ticket, common_stream, cut, pack, unpack
from rrm_onnx.ops.trials import evaluate, sources, trials
from rrm_onnx.types import Attribute, EdgeFact, Match, RrmNode

LARGEST = 2**31 - 1  # an end from which on exporters mean all that is left


def channel_axis(axis: int, rank: int = 4) -> None:
    """Refuse every axis but that of the channels."""
    if axis % rank != 1:
        raise Refused("axis", f"axis {axis}, only the channel axis (1) is supported")


class ConcatRule(OpRule):
    """Concat over axis 1 -> rrm.Concat.

    Limits: over channels only; maps of one size, none of them a constant.
    """

    op_types = ("Concat",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        parts = [map_input(node, i, facts) for i in range(len(node.inputs))]
        channel_axis(int(attribute(node, "axis", 1)))
        fact = parts[0][1]
        known = {(p.height, p.width) for _, p in parts if p.sites is not None}
        if len(known) > 1:
            raise Refused("shape", f"maps of different sizes {list(known)}")
        height, width = next(iter(known), (fact.height, fact.width))
        out = out_fact(fact, sum(channels_of(p) for _, p in parts), height, width)
        return single(node, "Concat", [name for name, _ in parts], {}, out)


class SliceRule(OpRule):
    """Slice with step 1 over axis 1 -> rrm.Slice; over height and width -> rrm.Pad, which crops.

    Limits: over channels, or over height and width, with step 1; axes and steps are constants, starts and ends
    too, or the same for all sizes; counted from the end only where the size is known.
    """

    makes = ("Slice", "Pad")
    op_types = ("Slice",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        ranges = slice_ranges(node, facts)
        if set(ranges) <= {2, 3} and ranges:
            (top, bottom), (left, right) = (cut_off(ranges.get(a), s) for a, s in ((2, x.height), (3, x.width)))
            attributes: dict[str, Attribute] = {
                "pads": (-top, -left, -bottom, -right),
                "mode": "constant",
                "value": 0.0,
            }
            return single(node, "Pad", (name,), attributes, padded(x, -top, -left, -bottom, -right))
        if len(ranges) > 1:
            raise Refused("axis", f"{len(ranges)} axes at once, only channels, or height and width, are supported")
        ((axis, bounds),) = ranges.items() or [(1, (0, LARGEST))]
        channel_axis(axis)
        start, end, _ = slice(*bounds).indices(channels_of(x))
        if end <= start:
            raise Refused("shape", "an empty range of channels")
        out = out_fact(x, end - start, x.height, x.width)
        return single(node, "Slice", (name,), {"start": start, "end": end}, out)


def slice_ranges(node: gs.Node, facts: Facts) -> dict[int, tuple[int, int]]:
    """(start, end) of each axis of which a Slice with step 1 leaves something out."""
    starts, ends = bound(node, "starts", 1, facts), bound(node, "ends", 2, facts)
    axes, steps = parameter(node, "axes", 3), parameter(node, "steps", 4)
    if starts is None or ends is None:
        raise Refused("parameter-not-constant", "starts and ends are absent")
    for step in () if steps is None else steps.ravel():
        if int(step) != 1:
            raise Refused("step", f"step {int(step)}, only 1 is supported")
    axis_list = np.arange(starts.size) if axes is None else axes.ravel()
    bounds = zip(axis_list, starts.ravel(), ends.ravel(), strict=True)
    named = {int(axis) % 4: (int(start), int(end)) for axis, start, end in bounds}
    return {axis: (start, end) for axis, (start, end) in named.items() if start != 0 or end < LARGEST}


def bound(node: gs.Node, name: str, index: int, facts: Facts) -> NDArray[Any] | None:
    """Starts or ends: constant, or computed from shapes to the same numbers for all sizes (half of the channels)."""
    if name in node.attrs or not has_input(node, index) or isinstance(node.inputs[index], gs.Constant):
        return parameter(node, name, index)
    tensor = node.inputs[index]
    makers = {like: facts.edges.get(like, EdgeFact()) for like in sources(tensor)}
    if not 1 <= len(makers) <= 2 or any(f.kind != "map" for f in makers.values()):
        return parameter(node, name, index)
    found = [evaluate(tensor, dict(zip(makers, shapes, strict=True))) for shapes in trials(*makers.values())]
    if found[0] is None or any(f is None or f.tolist() != found[0].tolist() for f in found):
        return parameter(node, name, index)
    return found[0]


def cut_off(bounds: tuple[int, int] | None, size: int | None) -> tuple[int, int]:
    """How many sites a slice of height or width leaves out before and behind."""
    if bounds is None:
        return 0, 0
    start, end = bounds
    if size is not None:
        start, end, _ = slice(start, end).indices(size)
        return start, size - max(end, start)
    if start < 0 or 0 <= end < LARGEST:
        raise Refused("size-unknown", f"from {start} to {end} of a size that is not known")
    return start, max(-end, 0)


class SplitRule(OpRule):
    """Split over axis 1 -> one rrm.Slice per output, named like the node with the output's index appended.

    Limits: over channels only; constant sizes.
    """

    makes = ("Slice",)
    op_types = ("Split",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        channel_axis(int(attribute(node, "axis", 0)))
        emits: list[RrmNode] = []
        outs: dict[str, EdgeFact] = {}
        start = 0
        for index, (output, length) in enumerate(zip(node.outputs, split_lengths(node, channels_of(x)), strict=True)):
            attributes = {"start": start, "end": start + length}
            emits.append(RrmNode("Slice", f"{node.name}/{index}", (name,), (output.name,), (), attributes))
            outs[output.name] = out_fact(x, length, x.height, x.width)
            start += length
        return Match(node.name, node.op, tuple(emits), outs)


def split_lengths(node: gs.Node, channels: int) -> list[int]:
    """The channels of each output of a Split."""
    sizes = parameter(node, "split", 1)
    count = len(node.outputs)
    if sizes is not None:
        lengths = [int(v) for v in sizes.ravel()]
    else:  # equal parts, the last one smaller where the division leaves a rest (opset 18)
        part = -(-channels // count)
        lengths = [part] * (count - 1) + [channels - part * (count - 1)]
    if sum(lengths) != channels or len(lengths) != count or min(lengths) < 1:
        raise Refused("shape", f"parts {lengths} of {channels} channels")
    return lengths


# --- NumPy definition ----------------------------------------------------------------------------------------------


def alike(tickets: Sequence[Ticket], op: str) -> Ticket:
    """The first of some tickets, after checking that they are of one stream and size."""
    common_stream(tickets)
    if len({(t.height, t.width) for t in tickets}) != 1:
        raise ValueError(f"{op} of maps of different sizes: {[(t.height, t.width) for t in tickets]}")
    return tickets[0]


class Concat(RrmOp):
    """Concatenation over channels: the output ticket names the segments of all inputs. Nothing is copied."""

    takes: ClassVar[tuple[str, ...]] = ("ticket, any number of them",)

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        out = []
        for tickets in zip(*map(unpack, inputs), strict=True):
            out.append(replace(alike(tickets, "Concat"), segments=tuple(s for t in tickets for s in t.segments)))
        return (pack(out),)


class Slice(RrmOp):
    """The channels `[start, end)`: the output ticket names parts of the input's segments. Nothing is copied."""

    start: int
    end: int

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        tickets = unpack(inputs[0])
        return (pack([replace(t, segments=tuple(cut(t.segments, self.start, self.end))) for t in tickets]),)


class ChannelRanges(RrmOp):
    """Ranges of channels, one behind the other: `[starts[i], ends[i])` of input `sources[i]`. The output ticket names
    parts of the inputs' segments, neighbours as one. Nothing is copied."""

    takes: ClassVar[tuple[str, ...]] = ("ticket, any number of them",)
    sources: list[int]
    starts: list[int]
    ends: list[int]

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        out = []
        for tickets in zip(*map(unpack, inputs), strict=True):
            head = alike(tickets, "ChannelRanges")
            segments: list[Segment] = []
            for source, start, end in zip(self.sources, self.starts, self.ends, strict=True):
                if not 0 <= start < end <= sum(s.c1 - s.c0 for s in tickets[source].segments):
                    raise ValueError(f"ChannelRanges: [{start}, {end}) lies outside of input {source}")
                for s in cut(tickets[source].segments, start, end):
                    if segments and segments[-1].id == s.id and segments[-1].c1 == s.c0:
                        segments[-1] = replace(segments[-1], c1=s.c1)
                    else:
                        segments.append(s)
            out.append(replace(head, segments=tuple(segments)))
        return (pack(out),)
