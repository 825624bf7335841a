"""Times single operators: the converted one against ONNX Runtime's own, on the same maps, where a share of the sites
changes from run to run, in a few square blobs.

Both are timed as they stand in a network, without what a session of one operator adds: ONNX Runtime's by its own
profile without the reordering at the graph's ends, the converted one by the library's statistics without Enter and
Exit. Beside it stand the whole sessions. Runs of all are interleaved; figures are medians.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rrm_onnx import runtime, yardstick
from rrm_onnx.bench.interleave import turns
from rrm_onnx.bench.operators import BEFORE, Case, convert, model_of

ACTIVITIES = (0.0, 0.01, 0.05, 0.25, 0.5, 1.0)
BLOBS = 4
TRIES = 32  # places tried for a blob, so that blobs seldom overlap
# Runs not counted, at each activity: what is held and what is in the caches is that of the activity before, and under a
# tolerance the sums that a convolution keeps have to be made once.
WARM, WARM_TOLERANT = 3, 40
AROUND = ("Reorder", "Enter", "Exit", BEFORE)  # operators that stand at the ends of a graph


@dataclasses.dataclass(frozen=True)
class Timing:
    """One operator at one activity. Times in microseconds.

    activity: share of the input's sites that change, as asked; changed: as it came out, for a map has whole sites.
    active: share of the output's sites that were computed. ort_us, node_us: the operator alone; ort_session_us,
    session_us: the whole runs. macs: multiply-accumulates of the dense operator; macs_done: what was
    left of them, made anew or added.
    """

    case: Case
    activity: float
    changed: float
    active: float
    ort_us: float
    node_us: float
    ort_session_us: float
    session_us: float
    macs: int
    macs_done: int

    @property
    def ratio(self) -> float:
        return self.ort_us / self.node_us

    @property
    def gflops(self) -> float | None:
        """Of the active sites; None where nothing is multiplied."""
        return 2e-3 * self.macs_done / self.node_us if self.macs_done else None

    def to_dict(self) -> dict[str, Any]:
        """Flat, with the case's name, operator, description and count."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "case"}
        case = {"name": self.case.name, "op": self.case.op, "shape": str(self.case), "count": self.case.count}
        return (
            case | fields | {"ratio": self.ratio, "gflops": self.gflops, "ort_gflops": 2e-3 * self.macs / self.ort_us}
        )


def measure(
    case: Case,
    activities: Sequence[float] = ACTIVITIES,
    *,
    threads: int = 2,
    entries: Mapping[str, str] | None = None,
    repeat: int = 20,
    tolerance: float = 0,
) -> list[Timing]:
    """One Timing for each activity, `repeat` runs each. With a tolerance the operator stands behind another one, which
    can tell it what its rows changed by."""
    model = model_of(case, behind=tolerance > 0)
    warm = WARM_TOLERANT if tolerance > 0 else WARM
    with tempfile.TemporaryDirectory(prefix="rrm-") as folder:
        profiled = _profiled(model.SerializeToString(), threads, entries, folder)
        sessions = (
            yardstick.dense_session(model, threads, entries),
            profiled,
            yardstick.converted_session(convert(model, tolerance), threads, entries),
        )
        runs = [_run(sessions, case, activity, warm, repeat) for activity in activities]
        own = _node_times(pathlib.Path(profiled.end_profiling()), len(runs) * (warm + repeat))
    found = []
    for k, (activity, run) in enumerate(zip(activities, runs, strict=True)):
        first = k * (warm + repeat) + warm
        ort_us = float(np.median(own[first : first + repeat]))
        found.append(run.timing(case, activity, max(ort_us, 0.5)))  # the profile counts whole microseconds
    return found


def total(timings: Sequence[Timing], activity: float) -> dict[str, float]:
    """Summed over a network at one activity, each operator as often as the network has it."""
    found = [t for t in timings if t.activity == activity]

    def summed(key: str) -> float:
        return float(sum(getattr(t, key) * t.case.count for t in found))

    keys = ("ort_us", "node_us", "ort_session_us", "session_us")
    sums = {"activity": activity, "count": sum(t.case.count for t in found), **{key: summed(key) for key in keys}}
    return sums | {
        "ratio": sums["ort_us"] / sums["node_us"],
        "ort_session_ratio": sums["ort_session_us"] / sums["node_us"],
    }


def _profiled(model: bytes, threads: int, entries: Mapping[str, str] | None, folder: str) -> Any:
    options = yardstick.session_options(threads, entries)
    options.enable_profiling = True
    options.profile_file_prefix = str(pathlib.Path(folder) / "ort")
    return runtime.import_onnxruntime().InferenceSession(model, options, providers=["CPUExecutionProvider"])


@dataclasses.dataclass
class _Runs:
    """What was collected at one activity, warm runs left out."""

    dense: list[float]
    converted: list[float]
    nodes: list[list[dict[str, Any]]]
    changed: float = 0.0

    def timing(self, case: Case, activity: float, ort_us: float) -> Timing:
        def total(key: str) -> float:
            return float(sum(n[key] for run in self.nodes for n in run)) / len(self.nodes)

        return Timing(
            case,
            activity,
            self.changed,
            active=total("active") / max(total("sites"), 1),
            ort_us=ort_us,
            node_us=float(np.median([sum(n["ns"] for n in run) for run in self.nodes])) / 1e3,
            ort_session_us=float(np.median(self.dense)) * 1e6,
            session_us=float(np.median(self.converted)) * 1e6,
            macs=round(total("macs_dense")),
            macs_done=round(total("macs_done")),
        )


def _run(sessions: Sequence[Any], case: Case, activity: float, warm: int, repeat: int) -> _Runs:
    """`sessions`: the original, once more with its profile, the converted one."""
    converted = sessions[2]
    found = _Runs([], [], [])
    for t, (feed, changed) in enumerate(feeds(case, activity, warm + repeat)):
        converted.reset_stats()
        seconds = [0.0] * len(sessions)
        for side in turns(t, len(sessions)):
            start = time.perf_counter()
            yardstick.run(sessions[side], ["y"], feed)
            seconds[side] = time.perf_counter() - start
        if t < warm:
            continue
        found.dense.append(seconds[0])
        found.converted.append(seconds[2])
        found.nodes.append(
            [n for n in converted.stats()["nodes"] if not (n["op"].startswith(AROUND) or BEFORE in n["name"])]
        )
        found.changed = changed
    return found


def _node_times(profile: pathlib.Path, runs: int) -> list[float]:
    """Microseconds that each run spent in its operators, by onnxruntime's profile."""
    events = [e for e in json.loads(profile.read_text()) if e.get("cat") == "Node"]
    each = [e for e in events if e["name"].endswith("_kernel_time")]
    size = len(each) // runs
    parts = (each[k * size : (k + 1) * size] for k in range(runs))
    return [float(sum(e["dur"] for e in part if not e["args"]["op_name"].startswith(AROUND))) for part in parts]


def feeds(case: Case, activity: float, count: int) -> Iterator[tuple[dict[str, yardstick.Array], float]]:
    """Inputs, each with the share of sites that differs from the one before it. The arrays are reused."""
    rng = np.random.default_rng(1)
    maps = {name: rng.normal(size=case.shape).astype(np.float32) for name in case.inputs}
    for _ in range(count):
        mask = blobs(rng, case.size, case.size, activity)
        for x in maps.values():
            x[:, :, mask] = rng.normal(size=(1, case.channels, int(mask.sum()))).astype(np.float32)
        yield maps, float(mask.mean())


def blobs(rng: np.random.Generator, height: int, width: int, share: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A map with this share of its sites set (one at least, unless the share is 0), in about BLOBS squares."""
    mask = np.zeros((height, width), bool)
    left = min(mask.size, max(round(share * mask.size), int(share > 0)))
    if left == mask.size:
        mask[:] = True
        return mask
    squares = BLOBS
    while left:
        side = (
            math.isqrt(left - 1) + 1 if squares == 1 else max(1, math.isqrt(left // squares))
        )  # the last takes the rest
        places = [_square(rng, mask, side) for _ in range(TRIES)]
        best = max(places, key=lambda place: int((~mask[place]).sum()))
        fresh = np.argwhere(~mask[best])[:left] + [best[0].start, best[1].start]
        mask[fresh[:, 0], fresh[:, 1]] = True
        left -= len(fresh)
        squares = max(1, squares - 1)
    return mask


def _square(rng: np.random.Generator, mask: np.ndarray[Any, Any], side: int) -> tuple[slice, slice]:
    y, x = (int(rng.integers(0, max(n - side, 0) + 1)) for n in mask.shape)
    return slice(y, y + side), slice(x, x + side)
