"""Enter, EnterStream and Exit: the nodes at a region's borders. No node of the source becomes one of these; the
writer (emit.py) places them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rrm_onnx.ops.base import EXACT_GATE
from rrm_onnx.ops.reference_base import RrmOp, StatefulOp, StreamState, Ticket, pack, read, unpack
from rrm_onnx.types import RrmNode

STREAM_INPUTS = ("rrm_stream", "rrm_reset", "rrm_tolerance")


def enter(tensor: str, ticket: str, channels_last: bool, streams: bool) -> RrmNode:
    """Dense tensor (float32 or uint8, NCHW or NHWC) -> ticket of a resident map.

    A gate stands behind it: a site is taken over when it differs from the held one by more than the threshold. In every
    `period`-th frame all thresholds of the region are multiplied by `drift` (below 1): what moves slowly passes then.
    """
    op, extra = ("EnterStream", STREAM_INPUTS) if streams else ("Enter", ())
    attributes = {"channels_last": int(channels_last), **EXACT_GATE, "drift": 1.0, "period": 1}
    return RrmNode(op, f"Enter_{tensor}", (tensor, *extra), (ticket,), (), attributes)


def leave(tensor: str, ticket: str, channels_last: bool) -> RrmNode:
    """Ticket -> dense float32 tensor, NCHW or NHWC."""
    return RrmNode(
        "Exit", f"Exit_{tensor}", (ticket,), (tensor,), (), {"channels_last": int(channels_last)}, dense=True
    )


# --- NumPy definition ----------------------------------------------------------------------------------------------


@dataclass
class EnterState(StreamState):
    frames: int = 0


class Enter(StatefulOp):
    """A dense batch becomes one resident map per row; a site counts as changed where it passes the gate."""

    takes: ClassVar[tuple[str, ...]] = ("x: float32 or uint8 [N, C, H, W], or [N, H, W, C] where `channels_last`",)
    gated: ClassVar[bool] = True
    channels_last: int = 0
    drift: float = 1.0
    period: int = 1

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        return (self._enter(inputs[0], range(len(inputs[0])), 1.0),)

    def _enter(self, x: Any, streams: Sequence[int], tolerance: float) -> Any:
        if x.ndim != 4 or x.dtype not in (np.float32, np.uint8):
            raise ValueError(f"expected a float32 or uint8 tensor of rank 4, got {x.dtype} {x.shape}")
        maps = x if self.channels_last else x.transpose(0, 2, 3, 1)
        frames = zip(maps.astype(np.float32), streams, strict=True)
        return pack([self._frame(fresh, stream, tolerance) for fresh, stream in frames])

    def _frame(self, fresh: Any, stream: int, tolerance: float) -> Ticket:
        state = self.streams.setdefault(stream, EnterState())
        assert isinstance(state, EnterState)
        resident = state.resident
        turn = self.drift if self.period > 1 and state.frames % self.period == 0 else 1.0
        state.frames += 1
        held_is_valid = resident.usable and resident.rows.shape == fresh.shape
        resident.usable = False
        self.commit(resident, fresh, np.ones(fresh.shape[:2], np.bool_), held_is_valid, tolerance * turn)
        return resident.ticket(stream, tolerance, turn)


class EnterStream(Enter):
    """Enter with stream ids, a reset flag and a tolerance factor, each given per run.

    Reset makes the streams of this run fresh: new resident maps with new ids, at which every later node starts anew.
    """

    takes: ClassVar[tuple[str, ...]] = (*Enter.takes, "stream: int64 [N]", "reset: bool", "tolerance: float32")

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        x, stream, reset, tolerance = inputs
        streams = [int(s) for s in np.ravel(stream)]
        if len(streams) != len(x) or len(set(streams)) != len(streams):
            raise ValueError(f"expected {len(x)} different stream ids, got {streams}")
        if np.any(reset):
            for s in streams:
                self.streams.pop(s, None)
        return (self._enter(x, streams, float(np.ravel(tolerance)[0])),)


class Exit(RrmOp):
    """The dense tensor that a ticket shows."""

    gives: ClassVar[str] = "x: float32 [N, C, H, W], or [N, H, W, C] where `channels_last`"
    channels_last: int = 0

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        x = np.stack([read(t) for t in unpack(inputs[0])])
        return (np.ascontiguousarray(x if self.channels_last else x.transpose(0, 3, 1, 2)),)
