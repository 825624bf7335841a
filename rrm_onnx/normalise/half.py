"""Networks in float16: weights that are cast to float32 before they are used become float32 weights.

onnxruntime's CPU provider computes convolutions in float32 whatever the model's type, and writes that down with Casts
around what it simplifies (fold.py): at the inputs and outputs, which stay float16, and on every weight. With the latter
folded, what lies between is a float32 network like any other.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from rrm_onnx.normalise.tools import retire, values_of

FLOATS = (np.float16, np.float32, np.float64)


def widen_weights(graph: gs.Graph, opset: int) -> None:
    """Fold every Cast of a constant to float32; its readers get the values, a weight for several of them once."""
    for node in list(graph.nodes):
        values = values_of(node.inputs[0]) if node.op == "Cast" and node.inputs else None
        if values is None or values.dtype not in FLOATS or int(node.attrs["to"]) != TensorProto.FLOAT:
            continue
        output = node.outputs[0]
        if any(output is o for o in graph.outputs):
            continue
        wide = gs.Constant(output.name, values.astype(np.float32))
        for reader in list(output.outputs):
            reader.inputs = [wide if t is output else t for t in reader.inputs]
        retire(node)
