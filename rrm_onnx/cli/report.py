"""The report of a conversion as tables."""

from __future__ import annotations

from typing import Any

from rrm_onnx.cli import shell

MOST = 12  # rows of the table of what stays dense; --json has all of it


def show_report(title: str, report: dict[str, Any]) -> None:
    """What was converted, and what stays dense with the reason."""
    rows: list[tuple[object, ...]] = [
        ("nodes", f"{report['nodes_before']}, simplified {report['nodes_simplified']}, now {report['nodes_after']}"),
        ("of these dense for a reason", report["nodes_dense"]),
        ("regions", len(report["regions"])),
        ("convolutions in them", sum(r["convolutions"] for r in report["regions"])),
        ("multiply-accumulates in them", _macs(report["macs_inside"], report["macs_total"])),
    ]
    shell.table(title, ("", ""), rows)
    if report.get("unchanged"):
        shell.warn(f"nothing is converted, the model stays as it is: {report['unchanged']}")
    dense = report["dense"]
    if dense:
        rows = [(d["op_type"], d["count"], d["reason"], d["hint"] or "") for d in dense[:MOST]]
        shell.table("stays dense", ("operator", "count", "reason", "what to do"), rows)
    if len(dense) > MOST:
        shell.note(f"and {len(dense) - MOST} reasons more: see --json")


def _macs(inside: int | None, total: int | None) -> str:
    if inside is None:
        return "unknown (give the size with --input-shape)"
    return f"{inside / 1e6:.1f} M" + (f" ({shell.percent(inside / total)})" if total else "")
