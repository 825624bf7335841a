"""`rrm-onnx bench --profile`: the tables of nodes, and of what they do phase by phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from rrm_onnx.bench.profile import Line, by_phase, lines, peaks, summed
from rrm_onnx.bench.result import Result
from rrm_onnx.cli import shell

MOST = 20  # nodes shown; --json has all of them
COLUMNS = ("node", "operator", "us a frame", "of the time", "active", "changed", "M MACs", "GFLOP/s", "bound, reached")


def show_profile(result: Result, converted: onnx.ModelProto) -> dict[str, Any]:
    """Measures the machine, shows where the converted model's time goes; everything as a dict."""
    best = peaks(result.threads)
    *nodes, outside = lines(result, converted, best)
    shown = [*nodes[:MOST], *([summed(nodes[MOST:], f"({len(nodes) - MOST} more)")] if nodes[MOST:] else [])]
    title = f"at best {best.gflops:.0f} GFLOP/s (matrix product) and {best.gigabytes:.1f} GB/s (copy)"
    shell.table(f"{title}, {best.threads} threads", COLUMNS, [_row(line) for line in [*shown, outside]])
    _show_phases(shown, nodes)
    return {
        "peaks": {"gflops": best.gflops, "gigabytes": best.gigabytes},
        "nodes": [line.to_dict() for line in nodes],
        "outside_us": outside.us,
        "phases_us": by_phase(nodes),
    }


def _row(line: Line) -> tuple[object, ...]:
    bound = "-" if line.reached is None else f"{line.bound} {shell.percent(line.reached)}"
    return (
        line.name,
        line.op,
        f"{line.us:.1f}",
        shell.percent(line.share),
        shell.percent(line.active),
        shell.percent(line.changed),
        f"{line.macs / 1e6:.2f}" if line.macs else "-",
        f"{line.gflops:.1f}" if line.gflops else "-",
        bound,
    )


def _show_phases(shown: Sequence[Line], nodes: Sequence[Line]) -> None:
    every = summed(nodes, "all nodes")
    total = sum(every.phases.values())
    if not total:
        return
    names = list(every.phases)
    rows = [
        (line.name, *(f"{line.phases.get(name, 0.0):.1f}" for name in names), f"{line.swept_mb:.2f}")
        for line in [*shown, every]
    ]
    rows.append(("of the time", *(shell.percent(every.phases[name] / total) for name in names), "-"))
    title = "us a frame by phase, summed over the threads; MB touched whatever changed"
    shell.table(title, ("node", *names, "MB"), rows)
