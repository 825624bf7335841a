"""Operators of other domains than ONNX's own, and nodes that the user skips, while the converter works.

A node "Conv" of somebody's domain is no convolution, and a skipped Gemm shall not become one. So that no step has to
think of it, each of them gets a stand-in between normalise and emit: domain `rrm.foreign`, operator `domain::Name`, the
same name, inputs and outputs, no attributes. Tensors that its subgraphs read from outside are inputs of the stand-in
too. `emit` puts the node itself back, its attributes and weights byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import onnx

if TYPE_CHECKING:  # running a converted model needs no graph library
    import onnx_graphsurgeon as gs

FOREIGN_DOMAIN = "rrm.foreign"
OWN = ("", "ai.onnx")


def is_foreign(node: onnx.NodeProto) -> bool:
    """Whether the node, or one in a graph that it holds, is of another domain than ONNX's own."""
    return node.domain not in OWN or any(is_foreign(n) for g in bodies(node) for n in g.node)


def label(stand_in: gs.Node) -> str:
    """What the report calls the operator behind a stand-in: that of ONNX by its name alone."""
    return str(stand_in.op).removeprefix(f"{OWN[-1]}::")


def reads(node: onnx.NodeProto) -> list[str]:
    """What a node reads: its inputs, "" for absent ones, and behind them what its subgraphs take from outside."""
    return [*node.input, *dict.fromkeys(name for g in bodies(node) for name in free_names(g))]


def stand_in(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node that takes its place."""
    op = f"{node.domain or OWN[-1]}::{node.op_type}"  # never the name of an operator that a step looks for
    return onnx.helper.make_node(op, reads(node), list(node.output), name=node.name, domain=FOREIGN_DOMAIN)


def put_back(node: gs.Node, original: onnx.NodeProto) -> onnx.NodeProto:
    """The original of a stand-in, reading what the stand-in reads by now."""
    made = onnx.NodeProto()
    made.CopyFrom(original)
    now = [t.name for t in node.inputs]
    made.input[:] = now[: len(made.input)]
    names = dict(zip(reads(original)[len(made.input) :], now[len(made.input) :], strict=True))
    for body in bodies(made):
        rename(body, {old: new for old, new in names.items() if old != new})
    return made


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node holds."""
    return [g for a in node.attribute for g in ([a.g] if a.HasField("g") else a.graphs)]


def own_names(graph: onnx.GraphProto) -> set[str]:
    """What is defined inside of a graph."""
    ports = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    return ports | {t.values.name for t in graph.sparse_initializer} | {o for n in graph.node for o in n.output}


def free_names(graph: onnx.GraphProto) -> list[str]:
    """What a subgraph reads of the graph around it, in order."""
    own = own_names(graph)
    used = [name for n in graph.node for name in reads(n)] + [o.name for o in graph.output]
    return [name for name in dict.fromkeys(used) if name and name not in own]


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give what a subgraph reads from outside other names."""
    own = own_names(graph)
    outer = {old: new for old, new in names.items() if old not in own}
    ports: Any
    for node in graph.node:
        node.input[:] = [outer.get(i, i) for i in node.input]
        for body in bodies(node):
            rename(body, outer)
    for ports in graph.output:
        ports.name = outer.get(ports.name, ports.name)
