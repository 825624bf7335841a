"""What lies around the operators of other domains is simplified, whether or not onnxruntime knows these operators.

So is what lies around nodes that the user wants to stay as they are (--skip). Both kinds are *held*: they are cut out;
what they write are inputs meanwhile, and what they read are outputs. The types of these inputs are what the model says,
what onnxruntime finds where it knows the operator, or what a convolution that reads them asks for. Where none of these
tells it, nothing is guessed: all that depends on such a result stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, ValueInfoProto, helper
from onnx.inliner import inline_selected_functions

from rrm_onnx.normalise.shapes import infer
from rrm_onnx.ops.foreign import FOREIGN_DOMAIN, is_foreign, reads, stand_in

Simplify = Callable[[onnx.ModelProto], onnx.ModelProto]
Names = Collection[str]
Types = Callable[[onnx.ModelProto, Sequence[str]], list[ValueInfoProto]]

# Operators whose result has the type, rank and channels of their first input.
ALIKE = {"Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Clip", "Softplus", "Identity"}
ALIKE |= {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Dropout"}
DEEPEST = 6  # of them between a result and the convolution that tells its type


def around_held(model: onnx.ModelProto, named: Names, simplify: Simplify, types: Types) -> onnx.ModelProto:
    """`simplify` applied to all but the held nodes, and what depends on those of which nothing is known.

    named: nodes that are held whatever they are. types: the types of the named tensors, as far as onnxruntime knows
    them. Functions of the model that call foreign operators, or stand beside held nodes, are written out; but for those
    of which a call is held.
    """
    if not any(is_foreign(n) for n in called(model)) and not any(n.name in named for n in model.graph.node):
        return simplify(model)
    model = written_out(model, named)
    cut = Cut.of(typed(model, named, types), named)
    if not cut.simple.graph.node or not cut.simple.graph.output:
        return cut.model
    return cut.joined(simplify(cut.simple))


def written_out(model: onnx.ModelProto, named: Names) -> onnx.ModelProto:
    """The model with its functions in place of their calls, and with the imports that these bring along."""
    if not model.functions:
        return model
    held = [(n.domain, n.op_type) for n in model.graph.node if n.name in named]
    flat = inline_selected_functions(model, held, exclude=True)
    domains = {o.domain for o in flat.opset_import}
    brought = {o.domain: o for f in model.functions for o in f.opset_import}
    flat.opset_import.extend(o for domain, o in brought.items() if domain not in domains)
    return flat


def called(model: onnx.ModelProto) -> Iterable[onnx.NodeProto]:
    """The nodes of the graph and of the functions, but for the calls of those."""
    functions = {(f.domain, f.name) for f in model.functions}
    nodes = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    return [n for n in nodes if (n.domain, n.op_type) not in functions]


def is_held(node: onnx.NodeProto, named: Names) -> bool:
    return is_foreign(node) or node.name in named


def protect(model: onnx.ModelProto, named: Names) -> dict[str, onnx.NodeProto]:
    """Put stand-ins in the place of all held nodes; the nodes themselves by name."""
    found = {}
    for node in model.graph.node:
        if is_held(node, named):
            found[node.name] = original = onnx.NodeProto()
            original.CopyFrom(node)
            node.CopyFrom(stand_in(original))
    if found:  # without the import nothing would have its shape inferred
        model.opset_import.append(helper.make_opsetid(FOREIGN_DOMAIN, 1))
    return found


# --- types


def typed(model: onnx.ModelProto, named: Names, types: Types) -> onnx.ModelProto:
    """A copy with the types of all results of held nodes that can be known, and what follows from them.

    What the model says itself comes after what can be found out: exporters leave sizes behind that do not hold any
    more, and onnxruntime does not believe them either.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    held = [n for n in model.graph.node if is_held(n, named)]
    results = {o: is_foreign(n) for n in held for o in n.output if o}
    readers = Readers(model)
    found = types(bare, list(results))
    stated = [v for v in model.graph.value_info if v.name in results]
    asked = [v for v in (readers.type_of(name) for name in results) if v is not None]
    # Of what is no operator of ONNX nothing will be inferred.
    told = first_known([*found, *(v for v in (*stated, *asked) if results[v.name])])
    return infer(saying(bare, first_known([*inferred(saying(bare, told)), *stated])))


def first_known(values: Iterable[ValueInfoProto]) -> dict[str, ValueInfoProto]:
    """The first with a rank for each name, or else the first."""
    told: dict[str, ValueInfoProto] = {}
    for value in values:
        if has_type(value) and not has_rank(told.get(value.name)):
            told[value.name] = value
    return told


def saying(model: onnx.ModelProto, told: Mapping[str, ValueInfoProto]) -> onnx.ModelProto:
    """A copy with these types, those of its outputs too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    ends = {o.name: o for o in copy.graph.output}
    for name, value in told.items():
        if name not in ends:
            copy.graph.value_info.add().CopyFrom(value)
        elif not has_rank(ends[name]):
            ends[name].CopyFrom(value)
    return copy


def inferred(model: onnx.ModelProto) -> list[ValueInfoProto]:
    """The types that the model says and onnx finds."""
    graph = infer(model).graph
    return [v for v in (*graph.value_info, *graph.output) if has_type(v)]


def has_type(value: ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    return kind is not None and (kind != "tensor_type" or value.type.tensor_type.elem_type != TensorProto.UNDEFINED)


def has_rank(value: ValueInfoProto | None) -> bool:
    return value is not None and value.type.tensor_type.HasField("shape")


class Readers:
    """What reads a result, and what that asks of it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.weights = {t.name: t for t in model.graph.initializer}
        self.constants = {n.output[0]: n for n in model.graph.node if n.op_type == "Constant" and n.domain == ""}
        self.of: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            if node.input and not is_foreign(node):
                self.of.setdefault(node.input[0], []).append(node)

    def type_of(self, name: str, depth: int = DEEPEST) -> ValueInfoProto | None:
        """Type, rank and channels, for a convolution with this weight would not take another."""
        for node in self.of.get(name, ()):
            weight = self.weight(node.input[1]) if node.op_type in ("Conv", "ConvTranspose") else None
            if weight is not None:
                group = next((a.i for a in node.attribute if a.name == "group"), 1)
                channels = weight.dims[0] if node.op_type == "ConvTranspose" else weight.dims[1] * group
                shape = [None, channels, *[None] * (len(weight.dims) - 2)]
                return helper.make_tensor_value_info(name, weight.data_type, shape)
            found = self.type_of(node.output[0], depth - 1) if node.op_type in ALIKE and depth else None
            if found is not None:
                found.name = name
                return found
        return None

    def weight(self, name: str) -> TensorProto | None:
        if name in self.constants:
            return next((a.t for a in self.constants[name].attribute if a.name == "value"), None)
        return self.weights.get(name)


# --- the cut


@dataclass(frozen=True)
class Cut:
    """A model in two parts. simple: what can be simplified, as a model; kept: the nodes that cannot, in order."""

    model: onnx.ModelProto
    simple: onnx.ModelProto
    kept: tuple[onnx.NodeProto, ...]

    @staticmethod
    def of(model: onnx.ModelProto, named: Names) -> Cut:
        graph = model.graph
        types = {v.name: v for v in (*graph.value_info, *graph.output) if has_type(v)}
        unknown: set[str] = set()
        kept, rest = [], []
        for node in graph.node:
            if is_held(node, named) or unknown.intersection(reads(node)):
                unknown.update(o for o in node.output if o not in types)
                kept.append(node)
            else:
                rest.append(node)
        return Cut(model, part(model, rest, kept, types), tuple(kept))

    def joined(self, simplified: onnx.ModelProto) -> onnx.ModelProto:
        """The simplified part and behind it the kept nodes in one model again, with the weights that only these read.

        What the simplified nodes read of the others has its type as a value, so the order does not matter.
        """
        graph, whole = simplified.graph, self.model.graph
        inputs, told = {i.name for i in whole.input}, {v.name for v in graph.value_info}
        graph.value_info.extend(v for v in graph.input if v.name not in inputs and v.name not in told)
        for ports, original in ((graph.input, whole.input), (graph.output, whole.output)):
            del ports[:]
            ports.extend(original)
        have = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
        wanted = ({name for n in self.kept for name in reads(n)} | {o.name for o in whole.output}) - have
        graph.initializer.extend(t for t in whole.initializer if t.name in wanted)
        graph.sparse_initializer.extend(t for t in whole.sparse_initializer if t.values.name in wanted)
        graph.node.extend(self.kept)
        return simplified


def part(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    kept: Sequence[onnx.NodeProto],
    types: dict[str, ValueInfoProto],
) -> onnx.ModelProto:
    """`nodes` as a model: what they read of the others comes in, what is read of them goes out."""
    graph = model.graph
    read = {name for n in nodes for name in reads(n)}
    made = [o for n in nodes for o in n.output if o]
    needed = {name for n in kept for name in reads(n)} | {o.name for o in graph.output}
    outputs = [types.get(o) or ValueInfoProto(name=o) for o in made if o in needed]
    others = [o for n in kept for o in n.output if o in read]
    result = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    result.graph.name = graph.name or "part"
    result.graph.node.extend(nodes)
    result.graph.input.extend([*graph.input, *(types[o] for o in others)])
    result.graph.output.extend(outputs)
    result.graph.initializer.extend(t for t in graph.initializer if t.name in read)
    result.graph.sparse_initializer.extend(t for t in graph.sparse_initializer if t.values.name in read)
    ports = {*made, *others}
    result.graph.value_info.extend(v for v in graph.value_info if v.name in made and v.name not in needed & ports)
    return result
