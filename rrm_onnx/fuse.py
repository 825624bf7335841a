"""Fifth stage: pairs of matches that one node computes in one go. Pure.

A depthwise convolution moves into the 1x1 convolution that alone reads it, and an exact convolution into the addition
that alone reads it. This comes behind the regions, so that what is worth converting does not depend on it, and a report
counts the nodes of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_graphsurgeon as gs

from rrm_onnx.common import sole_reader
from rrm_onnx.ops.addend import with_addend
from rrm_onnx.ops.separable_conv import joined
from rrm_onnx.thresholds import Gates
from rrm_onnx.types import Match, Plan

# How far back, in tensors, the common origin of a sum's two sides is looked for: a residual block is shorter.
FAR = 64


def fuse(graph: gs.Graph, plan: Plan, limits: Gates) -> Plan:
    """The plan with such pairs as one match each, under the name of the second node."""
    matches = fuse_addends(graph, fuse_separable(graph, plan.matches), limits)
    regions = tuple(replace(r, nodes=tuple(n for n in r.nodes if n in matches)) for r in plan.regions)
    return replace(plan, matches=matches, regions=regions)


def fuse_separable(graph: gs.Graph, matches: Mapping[str, Match]) -> dict[str, Match]:
    fused = dict(matches)
    for name, reader in only_readers(graph, matches).items():
        deep, point = fused[name], fused[reader]
        if deep.emits[0].op == "Conv" and [n.op for n in point.emits] == ["Conv"]:
            both = joined(deep, point)
            if both is not None:
                fused[reader] = both
                del fused[name]
    return fused


def fuse_addends(graph: gs.Graph, matches: Mapping[str, Match], limits: Gates) -> dict[str, Match]:
    made = {t: m for m in matches.values() for t in m.outputs}
    tensors = graph.tensors()
    fused = dict(matches)
    for name, reader in only_readers(graph, matches).items():
        convolution, addition = fused[name], fused[reader]
        emitted, others = convolution.emits[0], [t for t in addition.inputs if t != convolution.outputs[0]]
        if (
            len(others) != 1
            or others[0] not in made
            or not is_shortcut(tensors, convolution, made[others[0]], others[0])
        ):
            continue
        if any(limits.of(n).threshold > 0 for n in (emitted.name, emitted.inner) if n):
            continue
        both = with_addend(convolution, addition, others[0], made[others[0]].facts[others[0]])
        if both is not None:
            fused[reader] = both
            del fused[name]
    return fused


def is_shortcut(tensors: Mapping[str, gs.Tensor], convolution: Match, source: Match, addend: str) -> bool:
    """Whether the addend, or all that its node reads, is what the convolution is computed from.

    Then little changes in the addend without changing in front of the convolution too. Elsewhere (a pyramid's lateral
    convolution plus the enlarged map below) a fused node would compute the convolution wherever the addend changes.
    """
    behind = ancestors(tensors, convolution.inputs)
    return addend in behind or all(t in behind for t in source.inputs)


def ancestors(tensors: Mapping[str, gs.Tensor], names: tuple[str, ...]) -> set[str]:
    """The nearest tensors, up to FAR of them, that these are computed from, they included."""
    found, todo = set(names), list(names)
    while todo and len(found) < FAR:
        for node in tensors[todo.pop(0)].inputs:
            fresh = [t for t in node.inputs if isinstance(t, gs.Variable) and not t.is_empty()]
            names = tuple(t.name for t in fresh if t.name not in found)
            found.update(names)
            todo.extend(names)
    return found


def only_readers(graph: gs.Graph, matches: Mapping[str, Match]) -> dict[str, str]:
    """For each match of one node whose output is read by one other match and nowhere else: that match."""
    tensors = graph.tensors()
    found = {}
    for name, match in matches.items():
        if len(match.emits) == 1 and len(match.outputs) == 1:
            reader = sole_reader(graph, tensors[match.outputs[0]])
            if reader is not None and reader.name in matches:
                found[name] = reader.name
    return found
