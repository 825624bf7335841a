"""Regions: the rrm nodes between dense ones as one node, so that onnxruntime is asked once and not once a layer.

`pack` writes them; what looks at the single nodes of a converted model reads `nodes_of` it, or `unpack`s it.
Step i's attributes stand in those of the region as a<i>_<name>; what else is known of it as s<i>_op, s<i>_name,
s<i>_inputs and, for a ticket that stays inside, s<i>_output. Inputs count values: first the region's own, then one a
step, in order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import onnx
from onnx import TensorProto, helper

from rrm_onnx.common import free_name
from rrm_onnx.load import RRM_DOMAIN
from rrm_onnx.ops.foreign import reads

REGION = "Region"
Attributes = Mapping[str, onnx.AttributeProto]
Step = tuple[dict[str, onnx.AttributeProto], dict[str, onnx.AttributeProto]]  # what is known of it, its own attributes
DENSE_OUTPUTS = {"Exit": TensorProto.FLOAT, "MapShape": TensorProto.INT64}
TICKET = TensorProto.INT64


def pack(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its rrm nodes in as few Regions as the dense nodes between them allow; itself without any."""
    flat = unpack(model)
    if not any(n.domain == RRM_DOMAIN for n in flat.graph.node):
        return flat
    nodes = packed_nodes(flat.graph)
    values = values_beside(flat.graph, nodes)
    packed = onnx.ModelProto()
    packed.CopyFrom(flat)
    for name, content in (("node", nodes), ("value_info", values)):
        packed.graph.ClearField(name)
        getattr(packed.graph, name).extend(content)
    return packed


def packed_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Rank by rank the dense nodes, then the Region."""
    ranks, read = ranks_of(graph.node), readers_of(graph)
    ranked: list[tuple[list[onnx.NodeProto], list[onnx.NodeProto]]] = [([], []) for _ in range(max(ranks) + 1)]
    for node, rank in zip(graph.node, ranks, strict=True):
        ranked[rank][node.domain == RRM_DOMAIN].append(node)
    taken = {n.name for n in graph.node}
    nodes: list[onnx.NodeProto] = []
    for rank, (dense, steps) in enumerate(ranked):
        nodes += dense
        if steps:
            name = free_name(f"rrm_region_{rank}", taken)
            taken.add(name)
            nodes.append(region(name, steps, leaving(steps, read)))
    return nodes


def values_beside(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> list[onnx.ValueInfoProto]:
    """What is known of tensors that are left, and the types of those that leave a Region: nobody else tells them."""
    made = {o for n in nodes for o in n.output}
    inside = {o for n in graph.node for o in n.output} - made
    values = [v for v in graph.value_info if v.name not in inside]
    known = inside | {v.name for v in (*values, *graph.output)}
    leaving = [n for n in graph.node if n.domain == RRM_DOMAIN and n.output[0] not in known]
    kinds = {n.output[0]: DENSE_OUTPUTS.get(n.op_type, TICKET) for n in leaving}
    return values + [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]


def unpack(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with each Region's nodes in its place; itself where there is none. Undoes `pack`, but for the order of
    the nodes."""
    if not any(is_region(n) for n in model.graph.node):
        return model
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
    flat.graph.ClearField("node")
    flat.graph.node.extend(nodes_of(model))
    return flat


def nodes_of(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The model's nodes, those of each Region in its place."""
    return [n for node in model.graph.node for n in (steps_of(node) if is_region(node) else [node])]


def is_region(node: onnx.NodeProto) -> bool:
    return bool(node.domain == RRM_DOMAIN and node.op_type == REGION)


def ranks_of(nodes: Sequence[onnx.NodeProto]) -> list[int]:
    """How often the way from the inputs to a node leaves rrm nodes for dense ones: those of one rank depend on each
    other only through rrm nodes."""
    made: dict[str, tuple[int, bool]] = {}
    ranks = []
    for node in nodes:
        own = node.domain == RRM_DOMAIN
        before = [made[i] for i in reads(node) if i and i in made]
        rank = max((r + (rrm and not own) for r, rrm in before), default=0)
        made.update(dict.fromkeys(node.output, (rank, own)))
        ranks.append(rank)
    return ranks


OUTSIDE = ""
"""Among the names of nodes: the graph's outputs, and what is in the bodies of dense nodes."""


def readers_of(graph: onnx.GraphProto) -> dict[str, set[str]]:
    """The nodes, by name, that read each tensor."""
    found: dict[str, set[str]] = {}
    for node in graph.node:
        for tensor in reads(node):
            found.setdefault(tensor, set()).add(node.name if node.domain == RRM_DOMAIN else OUTSIDE)
    for output in graph.output:
        found.setdefault(output.name, set()).add(OUTSIDE)
    return found


def leaving(steps: Sequence[onnx.NodeProto], read: Mapping[str, set[str]]) -> list[str]:
    """What the steps make for others."""
    names = {n.name for n in steps}
    return [n.output[0] for n in steps if read.get(n.output[0], set()) - names]


def region(name: str, steps: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> onnx.NodeProto:
    made = {n.output[0] for n in steps}
    inputs = list(dict.fromkeys(i for n in steps for i in n.input if i not in made))
    number = {t: i for i, t in enumerate((*inputs, *(n.output[0] for n in steps)))}
    node = helper.make_node(REGION, inputs, outputs, name=name, domain=RRM_DOMAIN, steps=len(steps))
    node.attribute.append(helper.make_attribute("outputs", [number[t] for t in outputs]))
    for i, step in enumerate(steps):
        own: dict[str, object] = {"op": step.op_type, "name": step.name, "inputs": [number[t] for t in step.input]}
        if step.output[0] not in outputs:
            own["output"] = step.output[0]
        if step.doc_string or step.metadata_props:
            own["texts"] = json.dumps([step.doc_string, {p.key: p.value for p in step.metadata_props}])
        node.attribute.extend(helper.make_attribute(f"s{i}_{key}", value) for key, value in own.items())
        for attribute in step.attribute:
            added = node.attribute.add()
            added.CopyFrom(attribute)
            added.name = f"a{i}_{attribute.name}"
    return node


def steps_of(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes that a Region runs, in order."""
    found: list[Step] = [({}, {}) for _ in range(helper.get_node_attr_value(node, "steps"))]
    for attribute in node.attribute:
        step, _, name = attribute.name.partition("_")
        if name:
            found[int(step[1:])][step[0] == "a"][name] = attribute
    first = len(node.input)
    outer = {v - first: name for v, name in zip(helper.get_node_attr_value(node, "outputs"), node.output, strict=True)}
    values = list(node.input)
    values += [outer.get(i) or text(own, "output") for i, (own, _) in enumerate(found)]
    return [step_of(own, attributes, values, values[first + i]) for i, (own, attributes) in enumerate(found)]


def step_of(own: Attributes, attributes: Attributes, values: Sequence[str], output: str) -> onnx.NodeProto:
    inputs = [values[v] for v in own["inputs"].ints]
    step = helper.make_node(text(own, "op"), inputs, [output], name=text(own, "name"), domain=RRM_DOMAIN)
    if "texts" in own:
        step.doc_string, properties = json.loads(text(own, "texts"))
        for key, value in properties.items():
            step.metadata_props.add(key=key, value=value)
    for name, attribute in attributes.items():
        added = step.attribute.add()
        added.CopyFrom(attribute)
        added.name = name
    return step


def text(own: Attributes, name: str) -> str:
    return own[name].s.decode()
