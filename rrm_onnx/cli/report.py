"""The report of a conversion as tables."""

from __future__ import annotations

from typing import Any

from rrm_onnx.cli import shell

NAMED = 3  # tensors
MOST = 12  # rows of the table of what stays dense; --json has all of it


def show_report(title: str, report: dict[str, Any]) -> None:
    """What was converted, and what stays dense with the reason."""
    rows: list[tuple[object, ...]] = [
        ("nodes", f"{report['nodes_before']}, simplified {report['nodes_simplified']}, now {report['nodes_after']}"),
        ("of these dense for a reason", report["nodes_dense"]),
        ("regions", len(report["regions"])),
        ("convolutions in them", sum(r["convolutions"] for r in report["regions"])),
        ("multiply-accumulates in them", _macs(report["macs_inside"], report["macs_total"])),
        ("memory for each stream", _megabytes([r.get("state_bytes") for r in report["regions"]])),
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


def _megabytes(sizes: list[int | None]) -> str:
    known = [s for s in sizes if s is not None]
    return (
        f"about {sum(known) / 1e6:.1f} MB" if len(known) == len(sizes) else "unknown (give the size with --input-shape)"
    )


def show_regions(regions: list[dict[str, Any]]) -> None:
    """The regions, each with what crosses its borders."""
    rows = [
        (
            k + 1,
            r["nodes"],
            r["convolutions"],
            "-" if r["macs"] is None else f"{r['macs'] / 1e6:.1f}",
            _names(r["enters"]),
            _names(r["exits"]),
            "-" if r["border_elements"] is None else f"{r['border_elements'] / 1e3:.1f}",
            "-" if r.get("state_bytes") is None else f"{r['state_bytes'] / 1e6:.1f}",
        )
        for k, r in enumerate(regions[:MOST])
    ]
    if rows:
        columns = ("region", "nodes", "convolutions", "M MACs", "enter", "leave", "k floats that cross", "MB kept")
        shell.table("regions", columns, rows)
    if len(regions) > MOST:
        shell.note(f"and {len(regions) - MOST} regions more: see --json")


COLUMNS_OF_GLOBALS = (
    "node",
    "operator",
    "held under a tolerance by the gates of",
    "MACs behind: spent when it changes, saved when held",
)


def show_globals(found: list[dict[str, Any]]) -> None:
    """Nodes that make every site change when one does, and what holds them."""
    rows = [
        (
            g["node"],
            g["op_type"],
            _names(g["gates"]) or "nothing: every site changes with it",
            f"{g['macs_behind'] / 1e6:.1f} M" if g["macs_behind"] is not None else "?",
        )
        for g in found[:MOST]
    ]
    if rows:
        shell.table("depend on every site", COLUMNS_OF_GLOBALS, rows)
        shell.note(
            "exact models compute everything behind these when one site changes; bench --profile shows how often"
        )
    if len(found) > MOST:
        shell.note(f"and {len(found) - MOST} such nodes more: see --json")


def _names(tensors: list[str]) -> str:
    """A few names, or how many there are."""
    return ", ".join(tensors) if len(tensors) <= NAMED else f"{tensors[0]} and {len(tensors) - 1} more"
