"""The yardstick for a converted model: the original in stock ONNX Runtime, and how two answers are compared.

The original is taken as fast as it gets without this package: its initializers off the graph inputs (so that ONNX
Runtime may fold and repack them), the thread pool's spinning off and denormals as zero, as on the converted side.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx

from rrm_onnx import runtime
from rrm_onnx.distance import Array as Array
from rrm_onnx.distance import difference as difference
from rrm_onnx.distance import relative_l2 as relative_l2
from rrm_onnx.distance import same_bits as same_bits
from rrm_onnx.errors import LoadError, RrmError
from rrm_onnx.load import RRM_DOMAIN, read
from rrm_onnx.pack import nodes_of

if TYPE_CHECKING:
    import onnxruntime

Model = str | os.PathLike[str] | onnx.ModelProto
Feed = Mapping[str, Array]

SESSION_ENTRIES = {
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
    "session.set_denormal_as_zero": "1",
}


def config_entries(*, spinning: bool = False, denormals: bool = False, isa: str | None = None) -> dict[str, str]:
    """Config entries of both sides where they differ from SESSION_ENTRIES.

    spinning: the thread pools' workers spin between two runs. denormals: onnxruntime computes with them; the rrm
    operators flush them all the same. isa: level of the rrm operators, not of onnxruntime's own.
    """
    found = {key: "1" for key in SESSION_ENTRIES if spinning and key.endswith("allow_spinning")}
    if denormals:
        found["session.set_denormal_as_zero"] = "0"
    return found | ({"rrm.isa": isa} if isa else {})


def load(model: Model) -> onnx.ModelProto:
    """The model with its external data; LoadError when the path does not hold one."""
    return model if isinstance(model, onnx.ModelProto) else read(pathlib.Path(model))


def dense_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` without the initializers among its graph inputs; the model itself is not modified."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    held = {t.name for t in copy.graph.initializer} | {t.values.name for t in copy.graph.sparse_initializer}
    inputs = [i for i in copy.graph.input if i.name not in held]
    del copy.graph.input[:]
    copy.graph.input.extend(inputs)
    return copy


def settle_denormals(zero: bool = True) -> bool:
    """Makes this thread count denormals as zero, or not; call it before any session is made. True where it came out so.

    onnxruntime sets the mode of its worker threads by each session's own entry, but that of the thread that calls
    `run` once a process, by the first session: the one that the conversion makes would decide for a measurement.
    """
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    opset = onnx.helper.make_opsetid("", 13)
    graph = onnx.helper.make_graph([node], "first", [value], [result])
    dense_session(
        onnx.helper.make_model(graph, opset_imports=[opset], ir_version=7), 1, config_entries(denormals=not zero)
    )
    return denormals_are_zero() == zero


def denormals_are_zero() -> bool:
    """Whether this thread flushes results below the smallest normal number."""
    smallest = np.full(1, 2.0**-126, np.float32)  # np.finfo would warn of what is asked here
    return float((smallest * np.float32(0.5))[0]) == 0


def dense_session(
    model: onnx.ModelProto, threads: int = 0, entries: Mapping[str, str] | None = None
) -> onnxruntime.InferenceSession:
    """`dense_model(model)` in stock ONNX Runtime on the CPU, with the settings of the converted side."""
    ort = runtime.import_onnxruntime()
    options = session_options(threads, entries)
    try:
        return ort.InferenceSession(dense_model(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base below Exception
        refuse_unknown(error)
        message = f"onnxruntime does not load the original model: {first_line(error)}"
        raise LoadError(message, hint="export the model again, or install a newer onnxruntime") from error


def converted_session(
    model: onnx.ModelProto, threads: int = 0, entries: Mapping[str, str] | None = None
) -> onnxruntime.InferenceSession:
    """A fresh session of a converted model, with the same settings as `dense_session`."""
    options = session_options(threads, entries)
    try:
        return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except RrmError:
        raise
    except Exception as error:
        refuse_unknown(error)
        text, _, hint = str(error).partition("\nhint: ")
        if "not a registered function" in text:  # an operator that this library does not have
            hint = "it was converted by another version of rrm_onnx: convert the original again"
        message = f"onnxruntime does not load the converted model: {first_line(text)}"
        raise LoadError(message, hint=hint.strip() or "rrm-onnx doctor shows what is installed") from error


def refuse_unknown(error: Exception) -> None:
    """Raise a LoadError of its own for an operator of a domain that needs somebody's library."""
    found = re.search(r"([\w.]+):(\w+)\(\S*\) is not a registered function", str(error))
    if found and found[1] not in (RRM_DOMAIN, "ai.onnx"):
        message = f"onnxruntime does not know the operator {found[1]}::{found[2]} of the model"
        hint = "it needs the library of that domain: register it in session options of your own, and compare there"
        raise LoadError(message, hint=hint) from error


def session_options(threads: int = 0, entries: Mapping[str, str] | None = None) -> onnxruntime.SessionOptions:
    """Options that treat both sides alike: see the top of this module. `entries` replace single config entries."""
    options = runtime.import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for key, value in {**SESSION_ENTRIES, **(entries or {})}.items():
        options.add_session_config_entry(key, value)
    return options


def run(session: onnxruntime.InferenceSession, names: Sequence[str], feed: Feed) -> list[Array]:
    """One run, with onnxruntime's exceptions turned into a RrmError that carries their text and hint."""
    try:
        return list(session.run(list(names), dict(feed)))
    except Exception as error:
        if isinstance(error, RrmError):
            raise
        text, _, hint = str(error).partition("\nhint: ")
        text = text.rpartition("Status Message: ")[2]  # what the operator said, without the runtime's frame around it
        hint = hint.strip() or "compare name, type and shape of what is fed with the inputs that rrm-onnx inspect shows"
        raise RrmError(f"the run failed: {first_line(text)}", hint=hint) from error


def first_line(error: object) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def is_exact(converted: onnx.ModelProto) -> bool:
    """True when no gate of the model holds anything back."""
    return not any(thresholds(converted))


def thresholds(model: onnx.ModelProto) -> list[float]:
    """The thresholds of all gates, those inside nodes too, and 0."""
    names = ("threshold", "inner_threshold")
    gates = (a.f for n in nodes_of(model) if n.domain == RRM_DOMAIN for a in n.attribute if a.name in names)
    return [0.0, *gates]
