"""Last stage: the only writer of rrm nodes.

Invariants: every tensor that enters does so through one Enter per layout, every tensor that leaves keeps its name;
Transposes (and a Cast from uint8) next to a border are taken into it; inputs, outputs, metadata and opset imports of
the source are kept as they are, as are the texts beside its nodes, edges and weights (annotations.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

from rrm_onnx.annotations import restore
from rrm_onnx.common import check_content, free_name, one_line
from rrm_onnx.errors import ConvertError, InternalError
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN, expand
from rrm_onnx.ops.enter_exit import STREAM_INPUTS, enter, leave
from rrm_onnx.ops.foreign import FOREIGN_DOMAIN, put_back, reads
from rrm_onnx.thresholds import Gates
from rrm_onnx.types import CONVOLUTIONS, Match, Normalised, Plan, RrmNode

DOMAIN, DOMAIN_VERSION = "rrm", 1
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
ENTERS = ("Enter", "EnterStream")
GATED = (*ENTERS, *CONVOLUTIONS)


def emit(source: Normalised, plan: Plan, limits: Gates, streams: bool, digest: str) -> onnx.ModelProto:
    """The converted model, checked. `digest`: SHA-256 of the original (common.source_hash).

    Without regions it is the original as it stands, but for the metadata: a model that can gain nothing is no error.
    Raises ConvertError where streams are asked for and nothing would read them.
    """
    model = converted(source, plan, limits, streams) if plan.regions else copied(source, streams)
    for key, value in {
        "rrm.version": str(DOMAIN_VERSION),
        "rrm.source": digest,
        "rrm.tolerance": repr(limits.default),
    }.items():
        model.metadata_props.add(key=key, value=value)
    check(model)
    return model


def converted(source: Normalised, plan: Plan, limits: Gates, streams: bool) -> onnx.ModelProto:
    """The regions of `plan` on rrm nodes, the rest as simplified."""
    writer = Writer(source, plan, limits, streams)
    for node in source.graph.nodes:
        writer.add(node)
    limits.check_names({n.name for n in writer.nodes if n.op_type in GATED} | {n.name for n in source.graph.nodes})
    model = writer.finish()
    restore(model.graph, source.header.graph)
    return model


def copied(source: Normalised, streams: bool) -> onnx.ModelProto:
    """The original, its nodes named."""
    if streams:
        hint = "leave --streams out: the model stays as it is, and 'rrm-onnx inspect' says why"
        raise ConvertError("nothing to convert, so nothing would read the streams' inputs", hint=hint)
    model = onnx.ModelProto()
    model.CopyFrom(source.header)
    return model


class Writer:
    """Collects nodes and initializers of the converted graph in topological order."""

    def __init__(self, source: Normalised, plan: Plan, limits: Gates, streams: bool) -> None:
        self.source, self.plan, self.limits, self.streams = source, plan, limits, streams
        self.dense: Mapping[str, onnx.NodeProto] = {n.name: n for n in gs.export_onnx(source.graph).graph.node}
        self.weights = {t.name: t for t in source.header.graph.initializer}
        self.tensors = source.graph.tensors()
        self.outputs = {t.name for t in source.graph.outputs}
        self.absorbed = {a for m in plan.matches.values() for a in m.absorbed}
        self.inside = {t for m in plan.matches.values() for t in m.outputs}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.tickets: dict[str, str] = {}
        self.taken = set(self.tensors)

    def add(self, node: gs.Node) -> None:
        """Write what becomes of one source node."""
        if node.name in self.absorbed:
            return
        match = self.plan.matches.get(node.name)
        if match is not None:
            self.add_match(match)
        elif node.domain == COMPOSITE_DOMAIN:
            nodes, initializers = expand(node, self.source.opset)
            self.nodes.extend(nodes)
            self.initializers.update({t.name: t for t in initializers})
        elif node.domain == FOREIGN_DOMAIN:
            self.add_foreign(node)
        else:
            self.nodes.append(self.dense[node.name])

    def add_foreign(self, node: gs.Node) -> None:
        """The node behind a stand-in, and its weights as the source has them: their types may be known to nobody."""
        original = self.source.foreign[node.name]
        self.nodes.append(put_back(node, original))
        for before, now in zip(reads(original), node.inputs, strict=True):
            if before in self.weights and isinstance(now, gs.Constant):
                self.initializers[now.name] = tensor = TensorProto()
                tensor.CopyFrom(self.weights[before])
                tensor.name = now.name

    def add_match(self, match: Match) -> None:
        for emitted in match.emits:
            inputs = [self.ticket_of(t, match.node) for t in emitted.inputs]
            inputs += [self.constant(c.name, c.values) for c in emitted.constants]
            outputs = emitted.outputs
            if not emitted.dense:
                outputs = tuple(self.new_ticket(t, t) for t in emitted.outputs)
            self.write(replace(emitted, outputs=outputs), inputs)
            if not emitted.dense:
                for tensor in emitted.outputs:
                    self.leave(tensor)

    def ticket_of(self, tensor: str, reader: str) -> str:
        """The ticket that stands for a tensor of the source; enters it at its first use."""
        if tensor in self.tickets:
            return self.tickets[tensor]
        if tensor in self.inside:
            raise inconsistent(f"'{tensor}' is read by '{reader}' before it is made", reader)
        origin, channels_last = self.border(tensor)
        key = f"{origin}{' (NHWC)' if channels_last else ''}"
        if key not in self.tickets:
            node = enter(origin, self.new_ticket(key, origin), channels_last, self.streams)
            if any(node.name == made.name for made in self.nodes):  # the same tensor in the other layout
                node = replace(node, name=f"{node.name}_nhwc" if channels_last else f"{node.name}_nchw")
            self.write(node, list(node.inputs))
        self.tickets[tensor] = self.tickets[key]
        return self.tickets[tensor]

    def border(self, tensor: str) -> tuple[str, bool]:
        """(tensor to enter, whether it is NHWC): what stands before a Transpose and a Cast from uint8, in any order."""
        origin, channels_last = tensor, False
        while self.tensors[origin].inputs:
            producer = self.tensors[origin].inputs[0]
            if producer.name in self.plan.matches:
                break
            if not producer.inputs:
                break
            before = producer.inputs[0]
            if producer.op == "Transpose" and list(producer.attrs.get("perm", ())) == TO_NCHW and not channels_last:
                channels_last = True
            elif not (producer.op == "Cast" and before.dtype == np.uint8 and self.tensors[origin].dtype == np.float32):
                break
            origin = before.name
        dtype = self.tensors[origin].dtype
        # A Transpose of something else than a picture (int64, say) is not absorbed.
        return (origin, channels_last) if dtype in (np.float32, np.uint8) else (tensor, False)

    def new_ticket(self, key: str, tensor: str) -> str:
        name = free_name(f"{tensor}/ticket", self.taken)
        self.taken.add(name)
        self.tickets[key] = name
        return name

    def leave(self, tensor: str) -> None:
        """Exit a tensor for its dense readers; a Transpose to NHWC among them becomes part of the Exit."""
        if tensor not in self.tensors:  # between the nodes of one match
            return
        plain = tensor in self.outputs
        for reader in self.tensors[tensor].outputs:
            # A reader in the body of an If or Loop reads the dense tensor by its name.
            inside = any(reader is n for n in self.source.graph.nodes)
            if reader.name in self.absorbed and inside:
                continue
            match = self.plan.matches.get(reader.name) if inside else None
            if match is not None and tensor in match.inputs:
                continue
            if inside and reader.op == "Transpose" and list(reader.attrs.get("perm", ())) == TO_NHWC:
                self.write(leave(reader.outputs[0].name, self.tickets[tensor], True))
                self.absorbed.add(reader.name)
            else:
                plain = True
        if plain:
            self.write(leave(tensor, self.tickets[tensor], False))

    def constant(self, name: str, values: np.ndarray) -> str:
        """The initializer with these values: the source's own, or a new one."""
        values = np.ascontiguousarray(values, np.float32)
        own = self.tensors.get(name)
        if isinstance(own, gs.Constant) and same_bits(np.asarray(own.values), values):
            return name
        made = self.initializers.get(name)
        if made is not None and same_bits(numpy_helper.to_array(made), values):
            return name
        if own is not None or made is not None:  # a name of the source's, or ours for other values
            name = free_name(name, self.taken)
        self.taken.add(name)
        self.initializers[name] = numpy_helper.from_array(values, name)
        return name

    def write(self, node: RrmNode, inputs: list[str] | None = None) -> None:
        attributes = dict(node.attributes)
        if node.op in GATED:
            gate = self.limits.of(node.name)
            attributes |= {"threshold": gate.threshold, "scale": gate.scale}
        if node.op in ENTERS:
            attributes |= {"drift": self.limits.drift, "period": self.limits.period}
        if node.inner:
            gate = self.limits.of(node.inner)
            attributes |= {"inner_threshold": gate.threshold, "inner_scale": gate.scale}
        made = helper.make_node(
            node.op, list(node.inputs if inputs is None else inputs), list(node.outputs), name=node.name, domain=DOMAIN
        )
        for key, value in attributes.items():
            made.attribute.append(attribute_proto(key, value))
        self.nodes.append(made)

    def finish(self) -> onnx.ModelProto:
        """Everything in one model: dead dense nodes dropped, header and used initializers added."""
        model = onnx.ModelProto()
        model.CopyFrom(self.source.header)
        graph = model.graph
        nodes = live(self.nodes, self.outputs)
        used = {i for n in nodes for i in n.input} | captured(nodes) | self.outputs
        exported = gs.export_onnx(self.source.graph).graph
        made = {o for n in nodes for o in n.output}
        for name in ("node", "initializer", "sparse_initializer", "value_info"):
            graph.ClearField(name)
        graph.node.extend(nodes)
        graph.initializer.extend(t for t in exported.initializer if t.name in used and t.name not in self.initializers)
        graph.sparse_initializer.extend(t for t in exported.sparse_initializer if t.values.name in used)
        graph.initializer.extend(t for t in self.initializers.values() if t.name in used)
        graph.value_info.extend(v for v in exported.value_info if v.name in made)
        if self.streams:
            add_stream_inputs(graph)
        set_imports(model, self.source)
        return model


def attribute_proto(name: str, value: object) -> onnx.AttributeProto:
    """Empty lists need their type said."""
    if value == ():
        kind = onnx.AttributeProto.INTS if name in ("sizes", "indices") else onnx.AttributeProto.FLOATS
        return helper.make_attribute(name, [], attr_type=kind)
    return helper.make_attribute(name, list(value) if isinstance(value, tuple) else value)


def live(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes that an output depends on, in order."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            needed |= captured([node])
    return kept[::-1]


def captured(nodes: list[onnx.NodeProto]) -> set[str]:
    """Names that subgraphs of the nodes read (those of their own inside, too)."""
    names: set[str] = set()
    for node in nodes:
        for attribute in node.attribute:
            for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                names |= {i for n in graph.node for i in n.input} | {o.name for o in graph.output}
                names |= captured(list(graph.node))
    return names


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def add_stream_inputs(graph: onnx.GraphProto) -> None:
    """rrm_stream (default: row i is stream i; one row where the batch is dynamic), rrm_reset, rrm_tolerance."""
    dims = {i.name: i.type.tensor_type.shape.dim for i in graph.input}
    entering = {n.input[0] for n in graph.node if n.op_type == "EnterStream"}
    batches = {dims[t][0].dim_value or None if dims.get(t) else None for t in entering}
    batch = batches.pop() if len(batches) == 1 else None
    stream, reset, tolerance = STREAM_INPUTS
    defaults = {
        stream: np.arange(batch or 1, dtype=np.int64),
        reset: np.array(False),
        tolerance: np.array(1.0, np.float32),
    }
    shapes: dict[str, list[int | str]] = {stream: [batch or "rrm_streams"], reset: [], tolerance: []}
    for name, value in defaults.items():
        graph.initializer.append(numpy_helper.from_array(value, name))
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.input.append(helper.make_tensor_value_info(name, kind, shapes[name]))


def set_imports(model: onnx.ModelProto, source: Normalised) -> None:
    """The source's imports, those of domains that simplification brought in, and rrm."""
    have = {o.domain for o in model.opset_import}
    for o in source.graph.import_domains or ():
        if o.domain not in have and any(n.domain == o.domain for n in model.graph.node):
            model.opset_import.append(o)
    model.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))


def check(model: onnx.ModelProto) -> None:
    """Names unique, every input made before it is used, onnx.checker content. A failure is a bug of this package."""
    made = {i.name for i in model.graph.input} | {t.name for t in model.graph.initializer}
    made |= {t.values.name for t in model.graph.sparse_initializer} | {""}
    names: set[str] = set()
    for node in model.graph.node:
        if node.name in names:
            raise inconsistent(f"two nodes are named '{node.name}'")
        names.add(node.name)
        for i in node.input:
            if i not in made:
                raise inconsistent(f"'{i}' is read by '{node.name}' before it is made")
        for o in node.output:
            if o and o in made:
                raise inconsistent(f"'{o}' is made twice, the second time by '{node.name}'")
            made.add(o)
    for output in model.graph.output:
        if output.name not in made:
            raise inconsistent(f"the output '{output.name}' is never made")
    try:
        check_content(model)
    except onnx.checker.ValidationError as e:
        raise inconsistent(one_line(e)) from e
    except ValueError as e:  # the checker serializes, which protobuf refuses above 2 GiB
        hint = "a file of ONNX holds 2 GiB: convert a smaller model, or leave parts dense with --skip"
        raise ConvertError(f"the converted model cannot be checked: {one_line(e)}", hint=hint) from e


def inconsistent(what: str, node: str | None = None) -> InternalError:
    """The error for a converted graph that is wrong. `node`: of the source; where it stays dense, all is well."""
    around = f"; --skip {shlex.quote(node)} gets around it" if node else ""
    return InternalError(
        f"the converter made an inconsistent model, which is a bug: {what}",
        hint=f"report it with the model and what 'rrm-onnx doctor' shows{around}",
        node=node,
    )
