"""What a conversion did: counts, regions, and every operator that stays dense with the reason."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from rrm_onnx.ops.foreign import label
from rrm_onnx.types import Match, Plan, Refusal

CONVOLUTIONS = ("Conv", "ConvTranspose")
GLOBALS = ("GlobalAveragePool", "GlobalMaxPool")


@dataclass(frozen=True)
class Dense:
    """Nodes of one operator that stay dense for one reason."""

    op_type: str
    code: str
    reason: str
    hint: str | None
    count: int
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class RegionReport:
    """One region: its number of rrm nodes, what crosses its borders, and about the bytes that one stream keeps (without
    the sums that convolutions may keep under a tolerance); None where a size is unknown."""

    nodes: int
    convolutions: int
    enters: tuple[str, ...]
    exits: tuple[str, ...]
    macs: int | None
    border_elements: int | None
    state_bytes: int | None


@dataclass(frozen=True)
class GlobalReport:
    """A node whose output depends on every site of its input, as in a squeeze-and-excitation block: whatever reads it
    changes at every site when it changes. gates: the convolutions behind it whose gates may hold it under a tolerance
    (each a single site, so it costs nothing); empty where it reaches a map without one. macs_behind:
    multiply-accumulates of all that is computed from it in its region: what a frame costs in which it changes, and a
    gate that holds saves; None where a size is unknown."""

    node: str
    op_type: str
    gates: tuple[str, ...]
    macs_behind: int | None = None


@dataclass(frozen=True)
class Report:
    """A conversion in numbers.

    nodes_before, nodes_simplified: nodes of the original, and after simplification; nodes_converted: those of the
    simplified that went into regions; nodes_after: those of the converted model, with borders, each step of a
    `Region` counted as one; nodes_dense: those of the converted model that are no rrm nodes for a reason in
    `dense`. macs_total, macs_inside: multiply-accumulates of all convolutions, and of those inside regions, for one
    batch row with every site computed; None where shapes are unknown (give input_shapes). unchanged: why nothing
    was converted, in one sentence; None where something was.
    """

    nodes_before: int
    nodes_simplified: int
    nodes_converted: int
    nodes_after: int
    nodes_dense: int
    macs_total: int | None
    macs_inside: int | None
    tolerance: float
    regions: tuple[RegionReport, ...]
    dense: tuple[Dense, ...]
    unchanged: str | None = None
    globals: tuple[GlobalReport, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), separators=(",", ":"))


def report(
    source: onnx.ModelProto, graph: gs.Graph, plan: Plan, converted: onnx.ModelProto, tolerance: float
) -> Report:
    """The report of a conversion. `graph`: the simplified source; `converted`: what was written."""
    left = {n.name for n in (converted.graph.node if plan.regions else graph.nodes) if n.domain != "rrm"}
    regions = tuple(
        RegionReport(
            len(r.nodes),
            sum(plan.matches[n].is_convolution for n in r.nodes),
            r.enters,
            r.exits,
            r.macs,
            r.border_elements,
            r.state_bytes,
        )
        for r in plan.regions
    )
    dense = dense_groups([r for name, r in plan.refusals.items() if name in left])
    return Report(
        nodes_before=len(source.graph.node),
        nodes_simplified=len(graph.nodes),
        nodes_converted=sum(1 + len(m.absorbed) for m in plan.matches.values()),
        nodes_after=len(converted.graph.node),
        nodes_dense=sum(d.count for d in dense),
        macs_total=total([convolution_macs(n) for n in graph.nodes if label(n) in CONVOLUTIONS]),
        macs_inside=total([r.macs for r in plan.regions]),
        tolerance=tolerance,
        regions=regions,
        dense=dense,
        unchanged=None if plan.regions else unchanged(dense),
        globals=tuple(global_report(m, plan) for m in plan.matches.values() if any(n.op in GLOBALS for n in m.emits)),
    )


def global_report(node: Match, plan: Plan) -> GlobalReport:
    """Follows a pooled vector up to the first convolutions, or names those inside of a normalisation."""
    own = tuple(n.name for n in node.emits if n.op in CONVOLUTIONS)
    behind = macs_behind(node, plan)
    if own:
        return GlobalReport(node.node, node.op_type, own, behind)
    gates: dict[str, None] = {}
    tensors, seen = list(node.outputs), set[str]()
    while tensors:
        tensor = tensors.pop(0)
        for name, m in plan.matches.items():
            if tensor not in m.inputs or name in seen:
                continue
            seen.add(name)
            if m.is_convolution:
                gates[name] = None
            elif all(is_pooled(plan, t) for t in m.outputs):
                tensors += m.outputs
    return GlobalReport(node.node, node.op_type, tuple(gates), behind)


def macs_behind(node: Match, plan: Plan) -> int | None:
    """Multiply-accumulates of the matches that read what `node` makes, at any remove."""
    tensors, found = list(node.outputs), dict[str, Match]()
    while tensors:
        tensor = tensors.pop()
        for name, m in plan.matches.items():
            if tensor in m.inputs and name not in found:
                found[name] = m
                tensors += m.outputs
    macs = [m.macs for m in found.values()]
    return None if None in macs else sum(m for m in macs if m is not None)


def is_pooled(plan: Plan, tensor: str) -> bool:
    """Whether a tensor of a region has a single site."""
    return any(m.facts[tensor].sites == 1 for m in plan.matches.values() if tensor in m.facts)


def unchanged(dense: Sequence[Dense]) -> str:
    """Why nothing was converted: what most convolutions were refused for."""
    convolutions = [d for d in dense if "Conv" in d.op_type]
    if not convolutions:
        return "the model has no convolution, and nothing else is worth it"
    counts: dict[str, int] = {}
    for d in convolutions:
        counts[d.code] = counts.get(d.code, 0) + d.count
    first = max(convolutions, key=lambda d: counts[d.code])
    return f"{sum(counts.values())} convolutions stay dense, '{first.nodes[0]}' because {first.reason}"


def convolution_macs(node: gs.Node) -> int | None:
    """Multiply-accumulates of one batch row of a Conv (per output site) or ConvTranspose (per input site)."""
    sites = node.inputs[0] if label(node) == "ConvTranspose" else node.outputs[0]
    shapes = [sites.shape, node.inputs[1].shape]
    if any(s is None or not all(isinstance(d, (int, np.integer)) for d in s[1:]) for s in shapes):
        return None
    return math.prod(int(d) for d in shapes[0][2:]) * math.prod(int(d) for d in shapes[1])


def total(values: Sequence[int | None]) -> int | None:
    return None if None in values else sum(v or 0 for v in values)


def dense_groups(refusals: Sequence[Refusal]) -> tuple[Dense, ...]:
    """Refusals grouped by operator, code and reason, the largest group first."""
    groups: dict[tuple[str, str, str, str | None], list[str]] = {}
    for r in refusals:
        groups.setdefault((r.op_type, r.code, r.reason, r.hint), []).append(r.node)
    rows = [Dense(*key, len(nodes), tuple(nodes)) for key, nodes in groups.items()]
    return tuple(sorted(rows, key=lambda d: (-d.count, d.op_type, d.code)))
