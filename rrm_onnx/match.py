"""Third stage: every node becomes a Match or a Refusal. Pure: the graph is only read.

Fusion happens here too: an activation that is the only reader of a convolution's or arithmetic node's output moves
into that node. Of a chain of activations the first is fused, the others stand alone. In a tolerance the gate of a
convolution stands behind what is fused into it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import did_you_mean, sole_reader
from rrm_onnx.errors import ConvertError
from rrm_onnx.ops.base import Facts
from rrm_onnx.ops.foreign import FOREIGN_DOMAIN, label
from rrm_onnx.ops.registry import RULES
from rrm_onnx.types import Decision, EdgeFact, Match, Normalised, Refusal


def match(source: Normalised, skip: Collection[str] = ()) -> dict[str, Decision]:
    """Decision per node name, in graph order. `skip`: node names or operator types that stay dense.

    Those that the original has mean its nodes: normalise has put stand-ins in their place. The others mean nodes of
    the simplified graph, as the report shows them.
    """
    check_names(source, skip)
    graph = source.graph
    edges = {name: fact_of(tensor) for name, tensor in graph.tensors().items()}
    facts = Facts(source.opset, edges, frozenset(t.name for t in graph.outputs))
    decisions: dict[str, Decision] = {}
    for node in graph.nodes:
        words = skip if node.domain == FOREIGN_DOMAIN else [w for w in skip if w not in source.skipped]
        decision = with_absorbed(decide(node, facts, words), decisions)
        decisions[node.name] = decision
        if isinstance(decision, Match):
            for name in decision.absorbed:
                del decisions[name]
            edges.update({name: merged(fact, edges.get(name)) for name, fact in decision.facts.items()})
    return fuse_activations(graph, decisions)


def check_names(source: Normalised, skip: Collection[str]) -> None:
    """Raise ConvertError for a name in `skip` that is neither a node nor an operator."""
    known = {n.name for n in source.graph.nodes} | {label(n) for n in source.graph.nodes}
    known |= {n.name for n in source.header.graph.node} | {n.op_type for n in source.header.graph.node}
    for name in skip:
        if name not in known:
            raise ConvertError(f"skip: no node or operator is named '{name}'", hint=did_you_mean(name, known))


def decide(node: gs.Node, facts: Facts, skip: Collection[str]) -> Decision:
    """The node's own rule, after the user's wish and the domain."""
    op = label(node) if node.domain == FOREIGN_DOMAIN else node.op
    if node.name in skip or op in skip:
        return Refusal("skipped", node.name, op, "left dense as asked")
    if "::" in op:
        return Refusal("op-unsupported", node.name, op, f"{op} is no operator of ONNX")
    rule = None if node.domain == FOREIGN_DOMAIN else RULES.get(op)
    if rule is None:
        return Refusal("op-unsupported", node.name, op, f"{op} has no rrm operator")
    return rule.match(node, facts)


def with_absorbed(decision: Decision, decisions: Mapping[str, Decision]) -> Decision:
    """The decision, or the user's wish for a node that it would absorb. `decisions`: those on the nodes before, which
    were refused for themselves."""
    for name in decision.absorbed if isinstance(decision, Match) else ():
        before = decisions.get(name)
        if not isinstance(before, Refusal):  # it works on resident tensors itself, or is a part of such a node
            reason = f"'{name}', which it would be one with, is taken already"
            return Refusal("op-unsupported", decision.node, decision.op_type, reason)
        if before.code == "skipped":
            return Refusal(
                "skipped", decision.node, decision.op_type, f"'{name}', a part of it, is left dense as asked"
            )
    return decision


def fact_of(tensor: gs.Tensor) -> EdgeFact:
    """What shape inference left on a tensor."""
    dtype = None if tensor.dtype is None else str(np.dtype(tensor.dtype)) if not isinstance(tensor.dtype, int) else "?"
    if tensor.shape is None:
        return EdgeFact(dtype)
    dims = [int(d) if isinstance(d, (int, np.integer)) and d > 0 else None for d in tensor.shape]
    if len(dims) != 4:
        return EdgeFact(dtype, len(dims))
    return EdgeFact(dtype, 4, *dims)


def merged(fact: EdgeFact, known: EdgeFact | None) -> EdgeFact:
    """A rule's fact, its gaps filled from shape inference."""
    if known is None or known.rank != 4:
        return fact
    return replace(
        fact,
        batch=fact.batch if fact.batch is not None else known.batch,
        height=fact.height if fact.height is not None else known.height,
        width=fact.width if fact.width is not None else known.width,
    )


def fuse_activations(graph: gs.Graph, decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    """The decisions with single-reader activations moved into the node before; absorbed nodes have no entry."""
    fused = dict(decisions)
    for node in graph.nodes:
        match_ = fused.get(node.name)
        if not isinstance(match_, Match) or not match_.takes_activation:
            continue
        reader = sole_reader(graph, node.outputs[0])
        activation = fused.get(reader.name) if reader is not None else None
        if reader is not None and isinstance(activation, Match) and activation.emits[0].op == "Activation":
            fused[node.name] = with_activation(match_, activation)
            del fused[reader.name]
    return fused


def with_activation(match_: Match, activation: Match) -> Match:
    """One match for both: the activation's attributes and output on the first node."""
    (*others, before), (after,) = match_.emits, activation.emits
    emitted = replace(before, outputs=after.outputs, attributes={**before.attributes, **after.attributes})
    return replace(
        match_,
        emits=(*others, emitted),
        facts={**{t: match_.facts[t] for n in others for t in n.outputs}, **activation.facts},
        absorbed=(*match_.absorbed, activation.node),
        takes_activation=False,
    )
