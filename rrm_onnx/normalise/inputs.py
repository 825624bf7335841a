"""Inputs and names: weights taken off the inputs, static shapes set, nameless nodes named."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence

import onnx

from rrm_onnx.common import did_you_mean, free_name
from rrm_onnx.errors import ConvertError

EXAMPLE = "(1, 3, 480, 640)"
LARGEST = 2**31 - 1  # a single dimension above it is a slip


def strip_initializers(model: onnx.ModelProto) -> None:
    """Take initializers off the graph's inputs: there they are defaults, which nothing may be computed from ahead.

    IR version 3 wants them there, so it is raised to 4, the first that does not.
    """
    weights = {t.name for t in model.graph.initializer} | {t.values.name for t in model.graph.sparse_initializer}
    kept = [i for i in model.graph.input if i.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)


def set_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Fix the shapes of the named inputs; they must fit what the model declares. Raises ConvertError with a hint."""
    if not isinstance(shapes, Mapping):
        hint = f"write {{'NAME': {EXAMPLE}}}"
        raise ConvertError(f"input_shapes is {shapes!r}, not a mapping of input names to shapes", hint=hint)
    inputs = {i.name: i for i in model.graph.input}
    for name, shape in shapes.items():
        if name not in inputs:
            raise ConvertError(f"the model has no input {name!r}", hint=did_you_mean(str(name), inputs))
        if not inputs[name].type.HasField("tensor_type"):
            raise ConvertError(f"input '{name}' is not a tensor and has no shape", hint="leave it out")
        sizes = checked_sizes(name, shape)
        declared = inputs[name].type.tensor_type.shape  # of a loaded model: an input without one is no valid ONNX
        check_fit(name, sizes, declared)
        for dim, n in zip(declared.dim, sizes, strict=True):
            dim.dim_value = n


def checked_sizes(name: str, shape: Sequence[int]) -> list[int]:
    """The dimensions of a shape that a user gave."""
    hint = f"give a whole number from 1 to {LARGEST} for each dimension, such as {EXAMPLE}"
    if isinstance(shape, str | bytes) or not isinstance(shape, Iterable):
        raise ConvertError(f"input '{name}': {shape!r} is not a shape", hint=hint)
    given = list(shape)
    for n in given:
        if isinstance(n, bool) or not isinstance(n, numbers.Integral) or not 1 <= n <= LARGEST:
            raise ConvertError(f"input '{name}': shape {given} holds {n!r}, which is no size", hint=hint)
    return [int(n) for n in given]


def check_fit(name: str, sizes: Sequence[int], declared: onnx.TensorShapeProto) -> None:
    """Raise ConvertError where a shape has another rank than the declared one, or other sizes where these are fixed."""
    have = [d.dim_value if d.dim_value > 0 else d.dim_param or "?" for d in declared.dim]
    text = f"input '{name}': shape {list(sizes)} does not fit the declared {have}"
    if len(sizes) != len(have):
        raise ConvertError(text, hint=f"give all {len(have)} dimensions")
    if any(isinstance(h, int) and h != n for h, n in zip(have, sizes, strict=True)):
        opened = ", ".join(str(k) for k, h in enumerate(have) if not isinstance(h, int))
        hint = f"only dimensions {opened} are open (counted from 0)" if opened else "its shape is fixed: leave it out"
        raise ConvertError(text, hint=hint)


def name_nodes(model: onnx.ModelProto) -> None:
    """Name every nameless node by operator and position (`Conv_12`), and tell nodes of one name apart."""
    taken = {n.name for n in model.graph.node if n.name}
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = free_name(node.name or f"{node.op_type}_{index}", taken)
            taken.add(node.name)
        seen.add(node.name)
