"""Data that the stages of the conversion hand to each other: frozen, without behaviour beyond derived properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rrm_onnx.geometry import POINT, Window


@dataclass(frozen=True)
class Normalised:
    """What the second stage hands on: the graph to be matched (an onnx_graphsurgeon.Graph), and the model that it came
    from (inputs stripped, nodes named) for all that the graph does not hold: inputs, outputs, metadata, imports.
    foreign: the nodes of other domains than ONNX's own, and skipped ones, by name; in the graph stand-ins are in their
    place. skipped: the names and operators to be skipped that were those of the original, and so are dealt with."""

    graph: Any
    header: onnx.ModelProto
    opset: int
    foreign: Mapping[str, onnx.NodeProto] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()


Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Options:
    """What the user asked for; see `rrm_onnx.convert` for the meaning of each field."""

    tolerance: float | None = None
    thresholds: str | PathLike[str] | Mapping[str, Any] | None = None
    streams: bool = False
    skip: tuple[str, ...] = ()
    input_shapes: Mapping[str, Sequence[int]] | None = None
    flat: bool = False


@dataclass(frozen=True)
class EdgeFact:
    """What is known of the tensor on an edge; None stands for unknown.

    A *map* is what a ticket can stand for: float32, rank 4, (N, C, H, W), with a known number of channels.
    """

    dtype: str | None = None
    rank: int | None = None
    batch: int | None = None
    channels: int | None = None
    height: int | None = None
    width: int | None = None

    @property
    def kind(self) -> str:
        """`map` or `dense`."""
        return "map" if self.dtype == "float32" and self.rank == 4 and self.channels is not None else "dense"

    @property
    def sites(self) -> int | None:
        """Number of spatial positions of one batch row."""
        return None if self.height is None or self.width is None else self.height * self.width

    @property
    def is_point(self) -> bool:
        """True for a 1x1 map (a pooled vector)."""
        return self.height == 1 and self.width == 1


CONVOLUTIONS = ("Conv", "ConvAdd", "SeparableConv", "SeparableConvAdd", "ConvTranspose")
"""Operators of the domain that multiply weights; all of them end in a gate."""


@dataclass(frozen=True)
class Constant:
    """A weight of an rrm node. `name` is that of the source's initializer where the values are unchanged."""

    name: str
    values: NDArray[np.float32]


@dataclass(frozen=True)
class RrmNode:
    """One node of the rrm domain to be written. `inputs` and `outputs` are tensor names of the source graph: the
    writer turns them into tickets. With `dense` set, the output is an ordinary tensor (operator Shape). `inner`: the
    name of the source node whose gate stands inside this node (SeparableConv)."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[Constant, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    dense: bool = False
    inner: str = ""


@dataclass(frozen=True)
class Match:
    """A source node that can work on resident tensors, and what becomes of it.

    `facts`: what flows on the output edges; `macs`: multiply-accumulates of one batch row with every site computed,
    None where a size is unknown; `absorbed`: names of further source nodes that vanish in this one; `takes_activation`:
    the emitted node has an `activation` attribute that is still free.
    """

    node: str
    op_type: str
    emits: tuple[RrmNode, ...]
    facts: Mapping[str, EdgeFact]
    macs: int | None = 0
    absorbed: tuple[str, ...] = ()
    window: Window = POINT
    takes_activation: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Source tensors that arrive as tickets, in order, without repetition; not those between the match's nodes."""
        between = {name for n in self.emits for name in n.outputs}
        return tuple(dict.fromkeys(name for n in self.emits for name in n.inputs if name not in between))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Source tensors that leave as tickets."""
        return tuple(name for n in self.emits if not n.dense for name in n.outputs)

    @property
    def is_convolution(self) -> bool:
        """Whether it has products of weights to save: the gates of a normalisation are convolutions too, of 1x1 maps,
        and count none."""
        return self.macs != 0 and any(n.op in CONVOLUTIONS for n in self.emits)


@dataclass(frozen=True)
class Refusal:
    """A source node that stays dense: a stable code, the reason as a sentence, and what the user could do."""

    code: str
    node: str
    op_type: str
    reason: str
    hint: str | None = None


Decision = Match | Refusal


@dataclass(frozen=True)
class Region:
    """A connected part of the graph on resident tensors.

    `nodes` in graph order; `enters`, `exits`: tensors that cross the border; `border_elements`: floats that cross it
    per batch row and frame, `macs` those inside, `state_bytes` about what a stream's state takes; all None where a size
    is unknown.
    """

    nodes: tuple[str, ...]
    enters: tuple[str, ...]
    exits: tuple[str, ...]
    macs: int | None
    border_elements: int | None
    state_bytes: int | None = None


@dataclass(frozen=True)
class Plan:
    """What to write: the matches inside regions by source node name, and every refusal, partition's own included."""

    regions: tuple[Region, ...]
    matches: Mapping[str, Match]
    refusals: Mapping[str, Refusal]


@dataclass(frozen=True)
class Gate:
    """One gate: threshold (relative, 0 = exact) and scale (RMS of the tensor, 0 = that of the first keyframe)."""

    threshold: float = 0.0
    scale: float = 0.0
