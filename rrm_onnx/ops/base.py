"""What every operator rule has in common: the rule's interface and the questions that rules ask about a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.geometry import POINT, Window
from rrm_onnx.types import Attribute, Constant, Decision, EdgeFact, Match, Refusal, RrmNode

NO_ACTIVATION: Mapping[str, Attribute] = {"activation": "None", "activation_params": ()}
EXACT_GATE: Mapping[str, Attribute] = {"threshold": 0.0, "scale": 0.0}


@dataclass(frozen=True)
class Facts:
    """What is known before a node is looked at: the model's opset, a fact per tensor, the names of the outputs."""

    opset: int
    edges: Mapping[str, EdgeFact]
    outputs: frozenset[str] = frozenset()


class Refused(Exception):
    """Raised inside a rule; `OpRule.match` turns it into a Refusal."""

    def __init__(self, code: str, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.hint = code, reason, hint


class OpRule:
    """All that the converter knows of a family of operators.

    A rule reads a node and the facts and never changes either; it holds no state.
    """

    op_types: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    """The rrm operators that it emits; empty: that of the same name as the ONNX operator."""

    def becomes(self, op_type: str) -> tuple[str, ...]:
        """The rrm operators that an ONNX operator may become."""
        return self.makes or (op_type,)

    def match(self, node: gs.Node, facts: Facts) -> Decision:
        """The node as a Match, or the reason why it stays dense."""
        try:
            return self.accept(node, facts)
        except Refused as r:
            return Refusal(r.code, node.name, node.op, r.reason, r.hint)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        raise NotImplementedError


def single(
    node: gs.Node,
    op: str,
    inputs: Sequence[str],
    attributes: Mapping[str, Attribute],
    out: EdgeFact,
    *,
    constants: tuple[Constant, ...] = (),
    macs: int | None = 0,
    window: Window = POINT,
    takes_activation: bool = False,
) -> Match:
    """The usual match: one rrm node with the source node's name and its first output."""
    name = node.outputs[0].name
    emitted = RrmNode(op, node.name, tuple(inputs), (name,), constants, dict(attributes))
    return Match(node.name, node.op, (emitted,), {name: out}, macs, (), window, takes_activation)


def map_input(node: gs.Node, index: int, facts: Facts) -> tuple[str, EdgeFact]:
    """Name and fact of an input that must be a feature map."""
    if index >= len(node.inputs) or node.inputs[index].is_empty():
        raise Refused("input-missing", f"input {index} is absent")
    tensor = node.inputs[index]
    if isinstance(tensor, gs.Constant):
        raise Refused(
            "input-constant", f"input {index} ('{tensor.name}') is a constant where a feature map is expected"
        )
    fact = facts.edges.get(tensor.name, EdgeFact())
    if fact.dtype not in (None, "float32"):
        raise Refused("dtype", f"input {index} is {fact.dtype}, only float32 maps are supported")
    if fact.rank != 4:
        what = "of unknown rank" if fact.rank is None else f"of rank {fact.rank}"
        raise Refused("rank", f"input {index} is {what}, only rank 4 (N, C, H, W) is supported")
    if fact.channels is None:
        hint = "give the input's shape (input_shapes)"
        raise Refused("channels-unknown", f"the number of channels of input {index} is not known", hint)
    if fact.dtype is None:
        raise Refused("dtype", f"the type of input {index} is not known")
    return tensor.name, fact


def channels_of(fact: EdgeFact) -> int:
    """The number of channels of a map (known by definition)."""
    assert fact.channels is not None
    return fact.channels


def out_fact(source: EdgeFact, channels: int, height: int | None, width: int | None) -> EdgeFact:
    """The fact of a map that is computed from `source`."""
    return EdgeFact("float32", 4, source.batch, channels, height, width)


def resized(source: EdgeFact, channels: int, height: Callable[[int], int], width: Callable[[int], int]) -> EdgeFact:
    """The fact of a map whose size follows from that of `source`, where it is known."""
    h, w = source.height, source.width
    return out_fact(source, channels, None if h is None else height(h), None if w is None else width(w))


def check_batches(a: EdgeFact, b: EdgeFact) -> None:
    """Refuse two maps in one node whose batch sizes differ, or of which one alone is known: each row of a batch has a
    ticket, and row i meets row i."""
    if a.batch is not None and b.batch is not None and a.batch != b.batch:
        raise Refused("broadcast", f"batch sizes {a.batch} and {b.batch}")
    if (a.batch is None) != (b.batch is None):
        raise Refused("broadcast", f"batch size {a.batch or b.batch} against an unknown one")


def attribute(node: gs.Node, name: str, default: Any) -> Any:
    value = node.attrs.get(name, default)
    return default if value is None else value


def constant(node: gs.Node, index: int) -> NDArray[Any] | None:
    """Values of a constant input; None where the input is absent or computed."""
    if index >= len(node.inputs) or not isinstance(node.inputs[index], gs.Constant):
        return None
    return np.asarray(node.inputs[index].values)


def has_input(node: gs.Node, index: int) -> bool:
    return index < len(node.inputs) and not node.inputs[index].is_empty()


def parameter(node: gs.Node, name: str, index: int) -> NDArray[Any] | None:
    """A parameter that older opsets have as attribute `name` and newer ones as input `index`; None where absent."""
    if name in node.attrs:
        return np.asarray(node.attrs[name])
    if not has_input(node, index):
        return None
    values = constant(node, index)
    if values is None:
        raise Refused("parameter-not-constant", f"'{name}' is computed by the graph, it must be constant")
    return values


def weight(node: gs.Node, index: int, rank: int, what: str) -> Constant:
    """A constant float32 weight of the given rank."""
    tensor = node.inputs[index]
    if not isinstance(tensor, gs.Constant):
        raise not_constant(tensor, what)
    values = np.asarray(tensor.values)
    if values.dtype != np.float32:
        raise Refused("dtype", f"{what} '{tensor.name}' is {values.dtype}, only float32 is supported")
    if values.ndim != rank:
        raise Refused("rank", f"{what} '{tensor.name}' is of rank {values.ndim}, only rank {rank} is supported")
    return Constant(tensor.name, values)


def not_constant(tensor: gs.Tensor, what: str) -> Refused:
    """The refusal of a computed weight, with the usual reasons told apart."""
    maker = tensor.inputs[0].op if tensor.inputs else "input"
    if maker == "DequantizeLinear":
        hint = "convert the float32 model instead of the quantised one"
        return Refused("quantised", f"{what} '{tensor.name}' is quantised (DequantizeLinear)", hint)
    if maker == "Cast":
        hint = "export the model in float32"
        return Refused("dtype", f"{what} '{tensor.name}' is cast from another type, only float32 is supported", hint)
    hint = "freeze the weights into the model before you convert it"
    return Refused("weight-not-constant", f"{what} '{tensor.name}' is computed or an input, not a constant", hint)


def window_of(node: gs.Node, kernel: Sequence[int] | None = None) -> Window:
    """The window attributes of a convolution or pool node, defaults filled in."""
    shape = tuple(int(k) for k in (kernel if kernel is not None else attribute(node, "kernel_shape", ())))
    if len(shape) != 2:
        raise Refused("rank", f"a {len(shape)}-dimensional window, only 2-dimensional ones are supported")
    stride = [int(v) for v in attribute(node, "strides", (1, 1))]
    dilation = [int(v) for v in attribute(node, "dilations", (1, 1))]
    pad = [int(v) for v in attribute(node, "pads", (0, 0, 0, 0))]
    auto_pad = str(attribute(node, "auto_pad", "NOTSET"))
    if min(pad) < 0:
        raise Refused("pads", f"negative pads {pad}")
    return Window(
        (shape[0], shape[1]),
        (stride[0], stride[1]),
        (pad[0], pad[1], pad[2], pad[3]) if auto_pad == "NOTSET" else (0, 0, 0, 0),
        (dilation[0], dilation[1]),
        auto_pad,
    )


def window_attributes(window: Window) -> dict[str, Attribute]:
    """Geometry attributes as every rrm node with a window has them."""
    return {
        "kernel_shape": window.kernel,
        "strides": window.strides,
        "pads": window.pads,
        "dilations": window.dilations,
        "auto_pad": window.auto_pad,
    }
