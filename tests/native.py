"""Models of one operator, and the three ways to run them: NumPy definition, C++ library, plain onnxruntime.

plain.py builds the model without `rrm` operators that each is compared with.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from case import Case, draw
from onnx import TensorProto, helper, numpy_helper

from rrm_onnx import runtime
from rrm_onnx.errors import RuntimeMissingError
from rrm_onnx.ops import reference_ops
from rrm_onnx.pack import unpack
from rrm_onnx.types import CONVOLUTIONS

OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("rrm", 1)]
GATED = ("Enter", *CONVOLUTIONS)


def constants_of(case: Case) -> list[np.ndarray]:
    """Values for the constant inputs; weights are scaled so that outputs keep the size of the inputs."""
    rng = np.random.default_rng(case.seed + 1)
    out = []
    for shape in case.constants:
        value = draw(rng, shape, "positive" if case.data == "positive" else "normal")
        out.append(value / np.float32(np.sqrt(np.prod(shape[1:]))) if len(shape) == 4 else value)
    return out


def rrm_model(case: Case) -> onnx.ModelProto:
    """Enter(s) -> operator -> Exit; tickets of two segments in between where the case asks for a view."""
    gate = {"threshold": case.threshold, "scale": 0.0}
    turns = {"drift": 0.2 if case.period > 1 else 1.0, "period": case.period}
    last = int(case.enter == "channels_last")
    nodes, tickets = [], []
    for i, shape in enumerate(case.shapes):
        nodes.append(node("Enter", [f"x{i}"], [f"x{i}/ticket"], f"Enter_x{i}", channels_last=last, **gate, **turns))
        tickets.append(_view(nodes, f"x{i}/ticket", shape[1]) if case.through else f"x{i}/ticket")
    names = [f"c{i}" for i in range(len(case.constants))]
    if case.op not in ("Enter", "Exit"):
        attributes = case.attributes | (gate if case.op in GATED else {})
        if case.op.startswith("SeparableConv"):
            inner = 0.0 if case.op.endswith("Add") else case.threshold
            attributes |= {"inner_threshold": inner, "inner_scale": 0.0}
        nodes.append(node(case.op, tickets + names, ["out/ticket"], "node", **attributes))
        tickets = ["out/ticket"]
    if case.op == "MapShape":
        nodes[-1].output[0] = "y"
    else:
        nodes.append(node("Exit", [tickets[0]], ["y"], "Exit_y", channels_last=last))
    return case_model(case, nodes, list(zip(names, constants_of(case), strict=True)))


class Reference:
    """A converted model in `onnx.reference`, with the NumPy definitions of this package."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.session = onnx.reference.ReferenceEvaluator(unpack(model), new_ops=reference_ops())

    def run(self, frame: list[np.ndarray]) -> list[np.ndarray]:
        return self.session.run(None, dict(zip(self.session.input_names, frame, strict=True)))

    def node(self, name: str) -> Any:
        """The operator instance of that node, with its state."""
        return next(n for n in self.session.rt_nodes_ if n.onnx_node.name == name)


class Plain:
    """A model without rrm operators in onnxruntime."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def run(self, frame: list[np.ndarray]) -> list[np.ndarray]:
        return self.session.run(None, {i.name: x for i, x in zip(self.session.get_inputs(), frame, strict=True)})


class Native:
    """A converted model in onnxruntime with the C++ library, in a group of its own. entries: of its configuration."""

    def __init__(
        self,
        model: onnx.ModelProto,
        isa: str | None = None,
        threads: int = 1,
        entries: Mapping[str, str] | None = None,
    ) -> None:
        import onnxruntime

        import rrm_onnx

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        for key, value in {**({"rrm.isa": isa} if isa else {}), **(entries or {})}.items():
            options.add_session_config_entry(key, value)
        self.session = rrm_onnx.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        self.group = int(runtime.query("group")["group"])
        self.names = [i.name for i in self.session.get_inputs()]

    def run(self, frame: list[np.ndarray], run_options: Any = None) -> list[np.ndarray]:
        return self.session.run(None, dict(zip(self.names, frame, strict=True)), run_options)


def library_missing() -> str:
    """Why there is no C++ library here; empty if there is one. One that does not load is an error, not missing."""
    try:
        runtime.library_path()
    except RuntimeMissingError as error:
        if "RRM_LIBRARY" in os.environ:
            raise
        return f"{error.message}; {error.hint}"
    return ""


needs_library = pytest.mark.skipif(bool(library_missing()), reason=library_missing() or "-")


def isa_levels() -> list[str]:
    """The levels of this machine that a session can be given, best first; empty without the library."""
    if library_missing():
        return []
    known = runtime.query("isa")
    version = tuple(int(v) for v in runtime.import_onnxruntime().__version__.split(".")[:2])
    return list(known["available"]) if version >= (1, 24) else [known["chosen"]]  # `rrm.isa` is read from 1.24 on


def rounding(isa: str | None = None) -> float:
    """What a level may differ from another by: amx splits floats (docs/ARCHITECTURE.md). None: the level in use."""
    return 1e-4 if (isa or runtime.query("isa")["chosen"]) == "amx" else 1e-5


def assert_close(got: np.ndarray, expected: np.ndarray, what: str, rtol: float = 1e-5) -> None:
    """Equal shapes; no element off by more than `rtol` of itself or of the largest finite one.

    Inputs are of size 1: where outputs happen to cancel to less than a tenth of that, they are held to the tenth.
    """
    assert got.shape == expected.shape, what
    finite = np.abs(expected[np.isfinite(expected)])
    size = max(float(finite.max()), 0.1) if finite.size else 1.0
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * size, err_msg=what)


def assert_same_bits(got: np.ndarray, expected: np.ndarray, what: str) -> None:
    assert got.shape == expected.shape and got.dtype == expected.dtype, what
    if got.tobytes() != expected.tobytes():
        off = np.argwhere(got.view(np.uint32) != expected.view(np.uint32))
        at = tuple(off[0])
        raise AssertionError(
            f"{what}: {len(off)} of {got.size} elements differ, first at {at}: {got[at]!r}, expected {expected[at]!r}"
        )


def in_threads(*bodies: Callable[[], None]) -> list[BaseException]:
    """Run all at once; what they raised."""
    raised: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


# --- building ---------------------------------------------------------------------------------------------------------


def node(op: str, inputs: list[str], outputs: list[str], name: str = "", /, **attributes: Any) -> onnx.NodeProto:
    """A node of domain rrm; empty lists are written with their type, which `make_node` cannot guess."""
    out = helper.make_node(op, inputs, outputs, name or outputs[0], domain="rrm")
    for key, value in attributes.items():
        kind = onnx.AttributeProto.INTS if key == "sizes" else onnx.AttributeProto.FLOATS
        out.attribute.append(helper.make_attribute(key, value, attr_type=kind if value == [] else None))
    return out


def case_model(case: Case, nodes: list[onnx.NodeProto], inits: list[tuple[str, np.ndarray]]) -> onnx.ModelProto:
    """A model of `nodes` from inputs x0, x1, ... of the case to output y."""
    kind = TensorProto.UINT8 if case.data == "uint8" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(f"x{i}", kind, [None] * 4) for i in range(len(case.shapes))]
    out = (TensorProto.INT64, [4]) if case.op == "MapShape" else (TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph(
        nodes,
        "case",
        inputs,
        [helper.make_tensor_value_info("y", *out)],
        [numpy_helper.from_array(v, k) for k, v in inits],
    )
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=10)


def _view(nodes: list[onnx.NodeProto], ticket: str, channels: int) -> str:
    """The channels of `ticket` in two parts, the second first: a ticket of two segments."""
    cut = max(channels // 3, 1)
    for part, (start, end) in enumerate([(cut, channels), (0, cut)]):
        nodes.append(node("Slice", [ticket], [f"{ticket}/{part}"], start=start, end=end))
    nodes.append(node("Concat", [f"{ticket}/0", f"{ticket}/1"], [f"{ticket}/view"]))
    return f"{ticket}/view"
