"""Constants, BatchNormalization, identities and Dropout folded by onnxruntime's own basic level.

The level keeps to standard operators and changes no result beyond rounding, and it is what a plain session does too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, ValueInfoProto, helper

from rrm_onnx.common import one_line
from rrm_onnx.errors import ConvertError, RuntimeMissingError


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as onnxruntime writes it after ORT_ENABLE_BASIC; imports that no node needs are dropped again."""
    ort = runtime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    quiet(options)
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


TENSORS = {
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
    **{name: getattr(TensorProto, name.upper()) for name in ("int8", "int16", "int32", "int64", "uint8", "uint16")},
}


def known_types(model: onnx.ModelProto, names: Sequence[str]) -> list[ValueInfoProto]:
    """The types of the named tensors that onnxruntime finds; none where it does not know all of the operators."""
    ort = runtime()
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    ends = {o.name for o in model.graph.output}
    asked.graph.output.extend(ValueInfoProto(name=n) for n in names if n not in ends)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    quiet(options)
    try:
        session = ort.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime's exceptions share no base class
        return []
    wanted = [(o, TENSORS.get(o.type.removeprefix("tensor(").removesuffix(")"))) for o in session.get_outputs()]
    return [helper.make_tensor_value_info(o.name, kind, o.shape) for o, kind in wanted if kind and o.name in names]


def quiet(options: Any) -> None:
    options.log_severity_level = 4
    options.intra_op_num_threads = 1


def runtime() -> Any:
    """The module onnxruntime. Raises RuntimeMissingError."""
    try:
        import onnxruntime as ort
    except ImportError as e:
        hint = 'pip install "rrm_onnx[cpu]"'
        raise RuntimeMissingError("onnxruntime is not installed, it simplifies the model", hint=hint) from e
    return ort
