"""Operators of domains that a plain onnxruntime does not know: they are taken out before it simplifies, and put back.

What they compute is not known, so they stay as they are; where they read and write, the graph has outputs and inputs
meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper

KNOWN = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training")


def is_foreign(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether only somebody's own library can run it; functions that the model brings along are none."""
    functions = {f.domain for f in model.functions}
    return node.domain not in KNOWN and not node.domain.startswith("com.microsoft") and node.domain not in functions


def around_foreign(model: onnx.ModelProto, simplify: Callable[[onnx.ModelProto], onnx.ModelProto]) -> onnx.ModelProto:
    """`simplify` applied to all but the foreign nodes."""
    foreign = [n for n in model.graph.node if is_foreign(n, model)]
    if not foreign:
        return simplify(model)
    cut = without(model, foreign)
    simple = simplify(cut)
    whole = names(model.graph.input)
    told = [p for p in simple.graph.input if p.name not in whole and p.type.tensor_type.HasField("shape")]
    simple.graph.value_info.extend(told)
    for ports, original in ((simple.graph.input, model.graph.input), (simple.graph.output, model.graph.output)):
        del ports[:]
        ports.extend(original)
    simple.graph.node.extend(foreign)
    simple.opset_import.extend(o for o in model.opset_import if o.domain not in {x.domain for x in simple.opset_import})
    sorted_: onnx.ModelProto = gs.export_onnx(gs.import_onnx(simple).toposort(), do_type_check=False)
    return sorted_


def without(model: onnx.ModelProto, foreign: list[onnx.NodeProto]) -> onnx.ModelProto:
    """The model with what the foreign nodes write as inputs, and what they read as outputs."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    graph = cut.graph
    del graph.node[:]
    graph.node.extend(n for n in model.graph.node if n not in foreign)
    known = {v.name: v for v in (*graph.value_info, *graph.output)}
    written = list(dict.fromkeys(name for n in foreign for name in n.output if name))
    made = {name for n in graph.node for name in n.output}
    read = dict.fromkeys(name for n in foreign for name in n.input if name in made)
    # A plain float where the model does not say what it is: nothing is assumed of the shape.
    unknown = helper.make_tensor_value_info
    graph.input.extend(known.get(name) or unknown(name, TensorProto.FLOAT, None) for name in written)
    taken = names(graph.output)
    graph.output.extend(known.get(name) or unknown(name, TensorProto.FLOAT, None) for name in read if name not in taken)
    kept = [o for o in graph.output if o.name not in written]
    del graph.output[:]
    graph.output.extend(kept)
    return cut


def names(values: object) -> set[str]:
    return {v.name for v in values}  # type: ignore[attr-defined]
