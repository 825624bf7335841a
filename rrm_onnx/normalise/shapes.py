"""Shape and type inference, as far as it goes."""

from __future__ import annotations

import onnx


def infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that onnx can infer; a node that it cannot infer stays without, nothing fails."""
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except Exception:  # a crash of inference on odd models is no reason to refuse them: shapes stay unknown
        return model
