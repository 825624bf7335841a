"""The timing loop. All sessions live in one process with the same settings and threads; every frame goes through each,
and who is first rotates, so that clock changes and cache contents hit all alike. The first frame warms up the one and
is the other's keyframe: it is run, checked and not counted. Feeds are prepared outside the timed part.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx

from rrm_onnx import yardstick
from rrm_onnx.bench.result import Result, Rival, Side
from rrm_onnx.distance import worst_error
from rrm_onnx.errors import RrmError

# What `stats` counts up, run by run; `phases` holds further counts.
COUNTED = frozenset(
    ["runs", "keyframes", "sites", "active", "changed", "macs_dense", "macs_done", "macs_added", "swept_bytes", "ns"]
    + ["phases"]
)
OnFrame = Callable[[int, list[yardstick.Array], list[yardstick.Array]], None]


class Runner(Protocol):
    """What can be timed beside the two sessions. What `run` returns is read before the next frame."""

    def run(self, output_names: list[str], feed: dict[str, yardstick.Array], /) -> Sequence[yardstick.Array]: ...


def compare(
    model: onnx.ModelProto,
    converted: onnx.ModelProto,
    feeds: Iterable[yardstick.Feed],
    *,
    threads: int = 2,
    entries: Mapping[str, str] | None = None,
    on_frame: OnFrame | None = None,
    phases: bool = False,
) -> Result:
    """Times `feeds` through the original and the converted model and compares the outputs.

    threads: intra-op threads of each session. entries: config entries of both sessions besides the usual ones
    (`yardstick.config_entries`). on_frame: called, outside the timed part, with the frame's number and the outputs of
    the original and of the converted model. phases: as `Comparison` has it. Raises RrmError for fewer than two frames.
    """
    return Comparison(model, converted, threads, entries, phases=phases).run(feeds, on_frame)


class Comparison:
    """The sessions of one comparison. `run` starts with a fresh state each time.

    rivals: other ways to run the original, by name; timed and compared with it on the same frames. phases: also time
    what the converted model's nodes do phase by phase, which costs it a few percent.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        converted: onnx.ModelProto,
        threads: int = 2,
        entries: Mapping[str, str] | None = None,
        rivals: Mapping[str, Runner] | None = None,
        phases: bool = False,
    ) -> None:
        self.threads = threads
        self.dense = yardstick.dense_session(model, threads, entries)
        self.converted = yardstick.converted_session(converted, threads, entries)
        if phases:
            self.converted.time_phases()
        self.rivals = dict(rivals or {})
        self._inside = inside_share(converted)
        self.outputs = [o.name for o in self.dense.get_outputs()]

    def run(self, feeds: Iterable[yardstick.Feed], on_frame: OnFrame | None = None) -> Result:
        reset = getattr(self.converted, "reset", None)
        if reset:
            reset()
        clocks = [_Clock() for _ in range(2 + len(self.rivals))]
        errors = [list[float]() for _ in clocks[1:]]
        held_errors = list[float]()
        held: list[yardstick.Array] = []
        before: list[dict[str, Any]] = []
        for t, feed in enumerate(feeds):
            want, *answers = self._frame(t, feed, clocks)
            if t % 2 == 0:
                held = want
            if t == 0:
                before = self._nodes()
            else:
                for found, answer in zip(errors, answers, strict=True):
                    found.append(worst_error(answer, want))
                held_errors.append(worst_error(held, want))
            if on_frame:
                on_frame(t, want, answers[0])
        if not held_errors:
            raise RrmError("a comparison needs two frames or more, the first one is not counted", hint="raise --frames")
        nodes = difference(before, self._nodes())
        sides = [clock.side() for clock in clocks]
        means = [float(np.mean(found)) for found in errors]
        return Result(
            frames=len(held_errors) + 1,
            threads=self.threads,
            dense=sides[0],
            converted=sides[1],
            error=means[0],
            worst_error=float(np.max(errors[0])),
            hold2_error=float(np.mean(held_errors)),
            macs_share=self._share(nodes),
            rivals={
                name: Rival(side, error) for name, side, error in zip(self.rivals, sides[2:], means[1:], strict=True)
            },
            nodes=nodes,
        )

    def _frame(self, t: int, feed: yardstick.Feed, clocks: Sequence[_Clock]) -> list[list[yardstick.Array]]:
        """One frame through all sessions: the outputs of the original, the converted model and the rivals."""
        sessions = (self.dense, self.converted, *self.rivals.values())
        answers: dict[int, list[yardstick.Array]] = {}
        for side in turns(t, len(sessions)):
            with clocks[side]:
                answers[side] = yardstick.run(sessions[side], self.outputs, feed)
        return [answers[side] for side in range(len(sessions))]

    def _nodes(self) -> list[dict[str, Any]]:
        stats = getattr(self.converted, "stats", None)
        return list(stats()["nodes"]) if stats else []

    def _share(self, nodes: Sequence[Mapping[str, Any]]) -> float | None:
        done, dense = macs(nodes)
        return 1 - self._inside + self._inside * done / dense if dense > 0 else None


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


def turns(t: int, count: int) -> list[int]:
    """Who runs when in frame `t`: the first one rotates, and the others change their order from round to round, so that
    nobody always follows the same one."""
    first, *rest = ((t + k) % count for k in range(count))
    return [first, *(reversed(rest) if t // count % 2 else rest)]


def difference(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """What the nodes of a session did between two calls of `stats`; what is no count is as it was in the end."""
    pairs = zip(before, after, strict=True)
    return tuple({k: _since(b[k], v) if k in COUNTED else v for k, v in a.items()} for b, a in pairs)


def _since(before: Any, after: Any) -> Any:
    return {k: v - before[k] for k, v in after.items()} if isinstance(after, dict) else after - before


def macs(nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """(done, dense) multiply-accumulates of the nodes of a session's `stats`."""
    return sum(int(n["macs_done"]) for n in nodes), sum(int(n["macs_dense"]) for n in nodes)


def inside_share(converted: onnx.ModelProto) -> float:
    """Share of the original's multiply-accumulates that are in rrm regions; 1 where the conversion did not know."""
    found = next((p.value for p in converted.metadata_props if p.key == "rrm.report"), "{}")
    report = json.loads(found)
    inside, total = report.get("macs_inside"), report.get("macs_total")
    return min(1.0, inside / total) if inside and total else 1.0
