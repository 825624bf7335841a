"""`rrm-onnx bench --op`: the tables of single operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rrm_onnx import runtime
from rrm_onnx.bench.machine import cpu
from rrm_onnx.cli import shell

if TYPE_CHECKING:
    from rrm_onnx.bench.single import Timing

COLUMNS = ("operator", "changes", "computed", "ORT us", "node us", "ratio", "GFLOP/s", "ORT session us", "session us")
SUMS = {
    "ORT us": ("ort_us", 0),
    "node us": ("node_us", 0),
    "ratio": ("ratio", 2),
    "ORT session us": ("ort_session_us", 0),
    "ORT session : node": ("ort_session_ratio", 2),
}
NETWORK_ACTIVITY = 0.05  # usual for a network: a camera or a screen that mostly stands still


def time_operators(
    names: Sequence[str],
    activities: Sequence[float],
    threads: int,
    entries: Mapping[str, str],
    repeat: int | None,
    tolerance: float,
) -> dict[str, Any]:
    """Times and shows them; everything as a dict."""
    from rrm_onnx.bench import operators, single

    network = list(names) == [operators.RESNET]
    wanted = tuple(activities) or ((NETWORK_ACTIVITY,) if network else single.ACTIVITIES)
    cases = operators.cases(tuple(names))
    timings: list[single.Timing] = []
    with shell.progress("timing", len(cases)) as step:
        for k, case in enumerate(cases):
            more = {} if repeat is None else {"repeat": repeat}
            timings += single.measure(case, wanted, threads=threads, entries=entries, tolerance=tolerance, **more)
            step(k + 1)
    level = entries.get("rrm.isa") or runtime.query("isa")["chosen"]
    mode = f"tolerance {tolerance:g}" if tolerance else "exact"
    shell.table(f"{threads} threads, {level}, {mode}; medians", COLUMNS, [_row(t) for t in timings])
    sums = [single.total(timings, activity) for activity in wanted] if network else []
    if sums:
        rows = [
            (shell.percent(s["activity"]), s["count"], *(f"{s[key]:.{n}f}" for key, n in SUMS.values())) for s in sums
        ]
        shell.table("summed over the network", ("changes", "operators", *SUMS), rows)
    shell.note(
        "ORT us, node us: the operator alone, without the session, reordering, Enter and Exit; ratio: the quotient"
    )
    return {
        "machine": {
            "cpu": cpu(),
            "isa": level,
            "threads": threads,
            "tolerance": tolerance,
            "onnxruntime": runtime.import_onnxruntime().__version__,
        },
        "rows": [t.to_dict() for t in timings],
        **({"sums": sums} if sums else {}),
    }


def _row(timing: Timing) -> tuple[object, ...]:
    count = f"{timing.case.count} x " if timing.case.count > 1 else ""
    figures = (timing.ort_us, timing.node_us)
    return (
        f"{count}{timing.case}",
        shell.percent(timing.changed),
        shell.percent(timing.active),
        *(f"{us:.1f}" for us in figures),
        f"{timing.ratio:.2f}",
        "-" if timing.gflops is None else f"{timing.gflops:.1f}",
        f"{timing.ort_session_us:.0f}",
        f"{timing.session_us:.0f}",
    )
