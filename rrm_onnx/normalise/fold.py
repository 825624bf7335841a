"""Constants, BatchNormalization, identities and Dropout folded by onnxruntime's own basic level.

The level keeps to standard operators and changes no result beyond rounding, and it is what a plain session does too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from rrm_onnx.common import one_line
from rrm_onnx.errors import ConvertError, RuntimeMissingError


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as onnxruntime writes it after ORT_ENABLE_BASIC; imports that no node needs are dropped again."""
    try:
        import onnxruntime as ort
    except ImportError as e:
        hint = 'pip install "rrm_onnx[cpu]"'
        raise RuntimeMissingError("onnxruntime is not installed, it simplifies the model", hint=hint) from e
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory(prefix="rrm-") as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as e:  # onnxruntime's exceptions share no base class
            hint = "the model must load in a plain onnxruntime session first"
            raise ConvertError(f"onnxruntime {ort.__version__} cannot load the model: {one_line(e)}", hint=hint) from e
        folded = onnx.load(str(path))
    keep_used_imports(folded, model)
    return folded


def keep_used_imports(folded: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """onnxruntime imports every domain that it knows: keep those of the original and those that nodes use."""
    wanted = {o.domain for o in original.opset_import} | {n.domain for n in folded.graph.node}
    kept = [o for o in folded.opset_import if o.domain in wanted]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
