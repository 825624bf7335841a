"""What the NumPy definitions of all `rrm` operators share: tickets, resident maps, the version rule, the gate.

The operators of domain `rrm` are defined by the `onnx.reference.op_run.OpRun` classes of this package; the C++ library
is compared with them. An evaluator keeps one instance per node, so the state of a node lives in its instance and a
converted model runs frame after frame in plain NumPy:

    flat = rrm_onnx.pack.unpack(model)
    session = onnx.reference.ReferenceEvaluator(flat, new_ops=rrm_onnx.ops.reference_ops())

A definition says two things: `dense`, the operator's plain formula over whole maps, and `taps`, which input sites an
output site reads. `SiteOp` turns these into the operator on tickets: it computes the whole map, but takes only the
rows of active sites from it. A `taps` that misses a site therefore shows as a stale row.
"""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from onnx.reference.op_run import OpRun

from rrm_onnx.ops.reference_math import Taps, reach

DOMAIN = "rrm"

Map = npt.NDArray[np.float32]
"""One feature map: [H, W, C] float32."""
Sites = npt.NDArray[np.bool_]
"""One bit per site: [H, W] bool."""


@dataclass(frozen=True)
class Segment:
    """A channel range `[c0, c1)` of a resident map, whose change map describes the step `base` -> `version`."""

    id: int
    base: int
    version: int
    c0: int
    c1: int


@dataclass(frozen=True)
class Ticket:
    """One batch row of a ticket tensor: what flows on an edge in place of one feature map.

    `tolerance` is the factor on all thresholds of this run (1 = as written in the nodes, 0 = exact); `turn` a further
    one, of this frame alone, that asks for nothing of sites that are not active (see Enter's `drift`).
    """

    stream: int
    tolerance: float
    height: int
    width: int
    segments: tuple[Segment, ...]
    turn: float = 1.0

    @property
    def channels(self) -> int:
        return sum(s.c1 - s.c0 for s in self.segments)


def pack(tickets: Sequence[Ticket]) -> npt.NDArray[np.int64]:
    """The int64 tensor [N, 3 + 4*S]: stream, turn<<32|tolerance (bits of floats), H<<32|W, then id, base, version,
    c0<<32|c1 per segment."""
    rows = []
    for t in tickets:
        turn, tolerance = (int(v) for v in np.array([t.turn, t.tolerance], np.float32).view(np.int32))
        row = [t.stream, turn << 32 | tolerance & 0xFFFFFFFF, t.height << 32 | t.width]
        for s in t.segments:
            row += [s.id, s.base, s.version, s.c0 << 32 | s.c1]
        rows.append(row)
    return np.array(rows, dtype=np.int64)


def unpack(tensor: npt.NDArray[np.int64]) -> list[Ticket]:
    """The tickets of a tensor made by `pack`. ValueError if it cannot be one."""
    if tensor.dtype != np.int64 or tensor.ndim != 2 or tensor.shape[1] < 7 or tensor.shape[1] % 4 != 3:
        raise ValueError(f"not a ticket: {tensor.dtype} {tensor.shape}")
    tickets = []
    for row in tensor.tolist():
        segments = tuple(
            Segment(row[i], row[i + 1], row[i + 2], row[i + 3] >> 32, row[i + 3] & 0xFFFFFFFF)
            for i in range(3, len(row), 4)
        )
        tolerance, turn = (float(np.uint32(v).view(np.float32)) for v in (row[1] & 0xFFFFFFFF, row[1] >> 32))
        tickets.append(Ticket(row[0], tolerance, row[2] >> 32, row[2] & 0xFFFFFFFF, segments, turn))
    return tickets


@dataclass(eq=False)
class Resident:
    """A feature map that a node keeps between runs. `changed` says what changed from `base` to `version`."""

    id: int = field(default_factory=lambda: secrets.randbits(63) | 1)
    base: int = 0
    version: int = 0
    rows: Map = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    changed: Sites = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    scale: float = 0.0
    usable: bool = False

    def __post_init__(self) -> None:
        _registry[self.id] = self

    def ticket(self, stream: int, tolerance: float, turn: float) -> Ticket:
        height, width, channels = self.rows.shape
        segment = Segment(self.id, self.base, self.version, 0, channels)
        return Ticket(stream, tolerance, height, width, (segment,), turn)

    def gate(self, fresh: Map, active: Sites, held_is_valid: bool, relative: float, given: float) -> Sites:
        """`write` behind a gate of that threshold, relative to the scale; which rows passed.

        The scale is `given`, or else the RMS of the first map of its shape that has one: a black first frame has none
        to give, then the next one that changes something is asked. A keyframe after a failure leaves it.
        """
        if self.rows.shape != fresh.shape:
            self.scale = 0.0
        limit = relative * (given if given > 0 else self.scale)
        passed = self.write(fresh, active, limit if held_is_valid else None)
        if relative > 0 and given <= 0 and self.scale <= 0 and (passed.any() or not held_is_valid):
            rms = root_mean_square(self.rows)
            self.scale = rms if np.isfinite(rms) else 0.0
        return passed

    def write(self, fresh: Map, active: Sites, limit: float | None) -> Sites:
        """Take the rows of `fresh` at `active` sites that pass the gate, all rows where `limit` is None; says which."""
        if limit is None:
            replaced = np.ones(fresh.shape[:2], np.bool_)
            self.rows = np.array(fresh, dtype=np.float32)
        else:
            replaced = active & differs(fresh, self.rows, limit)
            # A new array, for a reader may still hold the old one.
            self.rows = np.where(replaced[..., None], fresh, self.rows)
        if replaced.any():
            self.base, self.version, self.changed = self.version, self.version + 1, replaced
        return replaced


# Tickets name resident maps by id and are never dereferenced otherwise; a map dies with the node that owns it.
_registry: weakref.WeakValueDictionary[int, Resident] = weakref.WeakValueDictionary()


def find(segment: Segment) -> Resident:
    """The resident map that `segment` names. RuntimeError if it is gone, or no longer what the ticket says."""
    resident = _registry.get(segment.id)
    if resident is None or not resident.usable or resident.version != segment.version:
        raise RuntimeError("a ticket does not show its map's current version: two runs use one stream at once")
    return resident


def read(ticket: Ticket) -> Map:
    """The feature map that `ticket` shows: [H, W, C] float32."""
    return np.concatenate([find(s).rows[..., s.c0 : s.c1] for s in ticket.segments], axis=2)


def differs(fresh: Map, held: Map, limit: float) -> Sites:
    """The gate: the RMS over channels of a row's difference is over `limit`; for `limit` <= 0: any bit differs."""
    if limit <= 0:
        bits = np.ascontiguousarray(fresh).view(np.uint32) != np.ascontiguousarray(held).view(np.uint32)
        return np.asarray(bits.any(axis=2))
    square = np.square(fresh.astype(np.float64) - held.astype(np.float64)).sum(axis=2)
    return np.asarray(~(square <= limit * limit * fresh.shape[2]))  # a NaN passes


def root_mean_square(rows: Map) -> float:
    return float(np.sqrt(np.mean(np.square(rows.astype(np.float64))))) if rows.size else 0.0


Seen = tuple[tuple[tuple[int, int], ...], ...]
"""For each input, for each of its segments: id and version, as consumed last."""


@dataclass
class StreamState:
    """What one node keeps for one stream.

    `tolerance` is the factor of the last run: when it falls, held rows may be further off than the new one allows, so
    every site has to be looked at again (`narrower`, in a run).
    """

    resident: Resident = field(default_factory=Resident)
    seen: Seen = ()
    tolerance: float = 0.0
    narrower: bool = False


class RrmOp(OpRun):
    """Base of all operators of the domain: no ONNX schema applies, though names are the same."""

    origin: ClassVar[str] = "no node; it stands at a border of a region"
    """What it is made of, where no rule makes it of one node."""
    op_domain = DOMAIN
    op_schema = None

    takes: ClassVar[tuple[str, ...]] = ("ticket",)
    gives: ClassVar[str] = "ticket"
    """Inputs and output in words, for docs/OPERATORS.md; the annotated fields are the attributes."""

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        raise NotImplementedError


class StatefulOp(RrmOp):
    """An operator that owns one resident map per stream."""

    gated: ClassVar[bool] = False
    threshold: float = 0.0
    scale: float = 0.0

    def __init__(self, onnx_node: Any, run_params: dict[str, Any], schema: Any = None) -> None:
        super().__init__(onnx_node, run_params, schema)
        self.streams: dict[int, StreamState] = {}

    def reset(self) -> None:
        """Forget all streams: the next run is a first frame."""
        self.streams.clear()

    def commit(self, resident: Resident, fresh: Map, active: Sites, held_is_valid: bool, tolerance: float) -> None:
        """Gate `fresh` into `resident` and make it usable."""
        relative = self.threshold * tolerance if self.gated else 0.0
        resident.gate(fresh, active, held_is_valid, relative, self.scale)
        resident.usable = True


class SiteOp(StatefulOp):
    """An operator from tickets to a ticket. A subclass gives `dense` and, if a site reads others, `taps`."""

    tickets: ClassVar[int] = 1
    """How many leading inputs are tickets; the rest are constants. 0 = all inputs."""

    state_type: ClassVar[type[StreamState]] = StreamState

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        """The output map [H', W', C'] of whole input maps [H, W, C], by the operator's plain formula."""
        raise NotImplementedError

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        """What an output site reads of input `index`. Here: the same site, or the only one of a 1x1 map."""
        return Taps((Taps.same(shape[0], out[0]), Taps.same(shape[1], out[1])))

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        """Height and width of the output for input shapes [H, W, C]. Here: those of the largest input."""
        return max(s[0] for s in shapes), max(s[1] for s in shapes)

    def update(
        self,
        state: StreamState,
        maps: list[Map],
        constants: Sequence[Any],
        active: Sites,
        held_is_valid: bool,
        tolerance: float,
    ) -> None:
        """Bring the resident map up to date at the `active` sites."""
        self.commit(state.resident, self.dense(maps, constants), active, held_is_valid, tolerance)

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        count = self.tickets or len(inputs)
        batch = zip(*(unpack(x) for x in inputs[:count]), strict=True)
        return (pack([self._frame(row, inputs[count:]) for row in batch]),)

    def _frame(self, tickets: tuple[Ticket, ...], constants: Sequence[Any]) -> Ticket:
        stream, tolerance, turn = common_stream(tickets)
        maps = [read(t) for t in tickets]
        seen: Seen = tuple(tuple((s.id, s.version) for s in t.segments) for t in tickets)
        state = self._state(stream, seen)
        resident = state.resident
        size = self.output_shape([m.shape for m in maps])

        held_is_valid = resident.usable and resident.rows.shape[:2] == size
        state.narrower = tolerance < state.tolerance
        everything = not held_is_valid or state.narrower
        active = np.ones(size, np.bool_) if everything else self._active(tickets, maps, state.seen, size)
        if active.any():
            # Whatever stops this run from here on, the next one starts from nothing.
            resident.usable = False
            self.update(state, maps, constants, active, held_is_valid, tolerance * turn)
        state.seen = seen
        state.tolerance = tolerance
        return resident.ticket(stream, tolerance, turn)

    def _state(self, stream: int, seen: Seen) -> StreamState:
        """The state of `stream`: a new one if an input is another resident map than before (its owner started anew)."""
        state = self.streams.get(stream)
        if state is None or [[s[0] for s in i] for i in state.seen] != [[s[0] for s in i] for i in seen]:
            state = self.streams[stream] = self.state_type(seen=seen)
        return state

    def _active(self, tickets: Sequence[Ticket], maps: list[Map], seen: Seen, size: tuple[int, int]) -> Sites:
        """Union over the inputs of the sites that read something that changed since this node looked."""
        active = np.zeros(size, np.bool_)
        for index, (ticket, fmap, before) in enumerate(zip(tickets, maps, seen, strict=True)):
            taps = self.taps(index, fmap.shape, size)
            for segment, (_, version) in zip(ticket.segments, before, strict=True):
                if version == segment.version:
                    continue
                if version != segment.base:
                    return np.ones(size, np.bool_)
                active |= reach(find(segment).changed, taps)
        return active


def common_stream(tickets: Sequence[Ticket]) -> tuple[int, float, float]:
    """Stream, tolerance factor and smallest turn of tickets that meet in one node. ValueError where they do not fit."""
    if len({(t.stream, t.tolerance) for t in tickets}) != 1:
        raise ValueError("the inputs of a node belong to different streams")
    return tickets[0].stream, tickets[0].tolerance, min(t.turn for t in tickets)


def cut(segments: Sequence[Segment], start: int, end: int) -> Iterator[Segment]:
    """The segments of the channels `[start, end)` of the map that `segments` make up."""
    at = 0
    for s in segments:
        c0, c1 = max(s.c0, s.c0 + start - at), min(s.c1, s.c0 + end - at)
        if c0 < c1:
            yield replace(s, c0=c0, c1=c1)
        at += s.c1 - s.c0
