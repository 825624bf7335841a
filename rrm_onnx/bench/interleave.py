"""The timing loop. Both sessions live in one process with the same settings and threads; every frame goes through
both, and who is first alternates, so that clock changes and cache contents hit both alike. The first frame warms up
the one and is the other's keyframe: it is run, checked and not counted. Feeds are prepared outside the timed part.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx

from rrm_onnx import yardstick
from rrm_onnx.bench.result import Result, Side
from rrm_onnx.errors import RrmError

OnFrame = Callable[[int, list[yardstick.Array], list[yardstick.Array]], None]


def compare(
    model: onnx.ModelProto,
    converted: onnx.ModelProto,
    feeds: Iterable[yardstick.Feed],
    *,
    threads: int = 2,
    on_frame: OnFrame | None = None,
) -> Result:
    """Times `feeds` through the original and the converted model and compares the outputs.

    threads: intra-op threads of each session. on_frame: called, outside the timed part, with the frame's number and
    the outputs of the original and of the converted model. Raises RrmError for fewer than two frames.
    """
    return Comparison(model, converted, threads).run(feeds, on_frame)


class Comparison:
    """The two sessions of one comparison. `run` starts with a fresh state each time."""

    def __init__(self, model: onnx.ModelProto, converted: onnx.ModelProto, threads: int = 2) -> None:
        self.threads = threads
        self.dense = yardstick.dense_session(model, threads)
        self.converted = yardstick.converted_session(converted, threads)
        self._inside = inside_share(converted)
        self.outputs = [o.name for o in self.dense.get_outputs()]

    def run(self, feeds: Iterable[yardstick.Feed], on_frame: OnFrame | None = None) -> Result:
        reset = getattr(self.converted, "reset", None)
        if reset:
            reset()
        clocks = (_Clock(), _Clock())
        errors, held_errors = list[float](), list[float]()
        held: list[yardstick.Array] = []
        before: tuple[int, int] | None = None
        for t, feed in enumerate(feeds):
            want, got = self._frame(t, feed, clocks)
            if t % 2 == 0:
                held = want
            if t == 0:
                before = self._macs()
            else:
                errors.append(worst_error(got, want))
                held_errors.append(worst_error(held, want))
            if on_frame:
                on_frame(t, want, got)
        if not errors:
            raise RrmError("a comparison needs two frames or more, the first one is not counted", hint="raise --frames")
        return Result(
            frames=len(errors) + 1,
            threads=self.threads,
            dense=clocks[0].side(),
            converted=clocks[1].side(),
            error=float(np.mean(errors)),
            worst_error=float(np.max(errors)),
            hold2_error=float(np.mean(held_errors)),
            macs_share=self._share(before, self._macs()),
        )

    def _frame(
        self, t: int, feed: yardstick.Feed, clocks: tuple[_Clock, _Clock]
    ) -> tuple[list[yardstick.Array], list[yardstick.Array]]:
        """One frame through both sessions, dense first in even frames: the outputs (dense, converted)."""
        sessions = (self.dense, self.converted)
        answers: dict[int, list[yardstick.Array]] = {}
        for side in (0, 1) if t % 2 == 0 else (1, 0):
            with clocks[side]:
                answers[side] = yardstick.run(sessions[side], self.outputs, feed)
        return answers[0], answers[1]

    def _macs(self) -> tuple[int, int] | None:
        stats = getattr(self.converted, "stats", None)
        return macs(stats()) if stats else None

    def _share(self, before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
        if before is None or after is None or after[1] <= before[1]:
            return None
        return 1 - self._inside + self._inside * (after[0] - before[0]) / (after[1] - before[1])


class _Clock:
    """Collects wall-clock and process CPU seconds of the blocks run under it."""

    def __init__(self) -> None:
        self._seconds, self._cpu = list[float](), list[float]()

    def __enter__(self) -> None:
        self._start, self._start_cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self._seconds.append(time.perf_counter() - self._start)
        self._cpu.append(time.process_time() - self._start_cpu)

    def side(self) -> Side:
        return Side(tuple(self._seconds), tuple(self._cpu))


def worst_error(got: list[yardstick.Array], want: list[yardstick.Array]) -> float:
    """Relative L2 of the worst floating-point output; of the worst output where none is floating-point."""
    pairs = [(g, w) for g, w in zip(got, want, strict=True) if w.dtype.kind == "f"] or list(zip(got, want, strict=True))
    return max(yardstick.relative_l2(g, w) for g, w in pairs if w.dtype.kind in "fiub")


def macs(stats: Mapping[str, Any]) -> tuple[int, int]:
    """(done, dense) multiply-accumulates of a session's `stats()`, cumulative."""
    nodes = stats.get("nodes", [])
    return sum(int(n["macs_done"]) for n in nodes), sum(int(n["macs_dense"]) for n in nodes)


def inside_share(converted: onnx.ModelProto) -> float:
    """Share of the original's multiply-accumulates that are in rrm regions; 1 where the conversion did not know."""
    found = next((p.value for p in converted.metadata_props if p.key == "rrm.report"), "{}")
    report = json.loads(found)
    inside, total = report.get("macs_inside"), report.get("macs_total")
    return min(1.0, inside / total) if inside and total else 1.0
