"""Second stage: fewer spellings of the same function.

Requires a loaded model; ensures: no initializer among the inputs, every node named, all names unique, constants and
BatchNormalization folded where possible, nodes in topological order, shapes inferred where they can be, and stand-ins
for operators of other domains and skipped nodes (ops/foreign.py), which no step may look into.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx
import onnx_graphsurgeon as gs

from rrm_onnx.common import default_opset
from rrm_onnx.normalise.activations import join_activations
from rrm_onnx.normalise.affine import fold_affine
from rrm_onnx.normalise.ahead import respell_ahead
from rrm_onnx.normalise.arg_max import split_arg_max
from rrm_onnx.normalise.arithmetic import spell_out
from rrm_onnx.normalise.depth import join_depth
from rrm_onnx.normalise.enlarge import join_enlargements
from rrm_onnx.normalise.focus import join_focus
from rrm_onnx.normalise.fold import fold, known_types
from rrm_onnx.normalise.forward import fold_forward
from rrm_onnx.normalise.group_norm import join_group_norms
from rrm_onnx.normalise.half import widen_weights
from rrm_onnx.normalise.heads import lift_heads
from rrm_onnx.normalise.held import around_held, protect
from rrm_onnx.normalise.inputs import name_nodes, set_input_shapes, strip_initializers
from rrm_onnx.normalise.layer_norm import join_layer_norms
from rrm_onnx.normalise.layout import move_transposes
from rrm_onnx.normalise.lines import lift_lines
from rrm_onnx.normalise.points import lift_points
from rrm_onnx.normalise.pools import chain_pools
from rrm_onnx.normalise.rearrange import join_shuffles
from rrm_onnx.normalise.reorder import reorder
from rrm_onnx.normalise.rows import turn_rows
from rrm_onnx.normalise.shapes import infer
from rrm_onnx.normalise.spelling import respell
from rrm_onnx.normalise.tools import unique_names
from rrm_onnx.normalise.turned_lines import lift_turned_lines
from rrm_onnx.types import Normalised

# In this order: a later step reads what an earlier one has written. Activations are joined twice: Transposes move past
# one node, not past its parts, and what is folded into convolutions may leave others.
STEPS = (
    widen_weights,
    lift_lines,
    lift_turned_lines,
    respell,
    join_focus,
    join_shuffles,
    join_enlargements,
    join_layer_norms,
    join_group_norms,
    spell_out,
    join_activations,
    move_transposes,
    split_arg_max,
    turn_rows,
    lift_heads,
    fold_affine,
    join_activations,
    lift_points,
    fold_forward,
    reorder,
    join_depth,
    chain_pools,
)


def normalise(
    model: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]] | None = None, skip: Collection[str] = ()
) -> Normalised:
    """The model as a graph in few spellings; `model` is not changed.

    input_shapes: shapes for inputs that are declared dynamic; the converted model then has these, fixed.
    skip: names and operators of nodes that stay as they are, respelled by nothing.
    Raises ConvertError for shapes that do not fit, and where onnxruntime cannot load the model.
    """
    header = onnx.ModelProto()
    header.CopyFrom(model)
    strip_initializers(header)
    set_input_shapes(header, {} if input_shapes is None else input_shapes)
    name_nodes(header)
    skipped = [n for n in header.graph.node if n.name in skip or n.op_type in skip]
    held = frozenset(n.name for n in skipped)
    folded = around_held(header, held, lambda m: fold(respell_ahead(m)), known_types)
    name_nodes(folded)  # onnxruntime leaves the nodes of inlined functions without names
    foreign = protect(folded, held)
    graph = gs.import_onnx(infer(folded))
    opset = default_opset(model) or 0
    for step in STEPS:
        step(graph, opset)
        unique_names(graph)
        graph.cleanup().toposort()
    done = {word for n in skipped for word in (n.name, n.op_type)}
    return Normalised(graph, header, opset, foreign, frozenset(done.intersection(skip)))
