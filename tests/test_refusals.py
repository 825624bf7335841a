"""The sentence that each rule gives where it makes nothing of a node."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pytest
from decisions import Build, decide, i64
from onnx import TensorProto

import rrm_onnx.ops
from rrm_onnx.ops.codes import CODES
from rrm_onnx.types import Refusal

# One row per refusal: code, a part of the sentence, the node, opset.
REFUSALS: list[tuple[str, str, Build, int]] = [
    ("input-missing", "input 0 is absent", lambda n: n.add("Relu", "", name="it"), 17),
    ("op-unsupported", "Hardmax has no rrm operator", lambda n: n.add("Hardmax", n.input(), name="it"), 17),
    ("rank", "of rank 3", lambda n: n.add("Relu", n.input(shape=(1, 3, 8)), name="it"), 17),
    ("rank", "of unknown rank", lambda n: n.add("Relu", n.input(shape=None), name="it"), 17),
    (
        "channels-unknown",
        "channels of input 0 is not known",
        lambda n: n.add("Relu", n.input(shape=(1, "C", 8, 8)), name="it"),
        17,
    ),
    ("dtype", "input 0 is float16", lambda n: n.add("Relu", n.input(kind=TensorProto.FLOAT16), name="it"), 17),
    (
        "dtype",
        "weight 'w' is float64",
        lambda n: n.add("Conv", n.input(), n.const(np.ones((2, 3, 1, 1)), np.float64, "w"), name="it"),
        17,
    ),
    (
        "weight-not-constant",
        "'w' is computed or an input",
        lambda n: n.add("Conv", n.input(), n.input("w", (2, 3, 1, 1)), name="it"),
        17,
    ),
    (
        "quantised",
        "is quantised",
        lambda n: n.add(
            "Conv",
            n.input(),
            n.add("DequantizeLinear", n.const(np.ones((2, 3, 1, 1)), np.int8), n.const(1.0)),
            name="it",
        ),
        17,
    ),
    (
        "shape",
        "do not fit 3 channels",
        lambda n: n.add("Conv", n.input(), n.const(np.ones((2, 4, 1, 1))), name="it"),
        17,
    ),
    (
        "pads",
        "a size of 8, which is larger",
        lambda n: n.add(
            "ConvTranspose",
            n.input(shape=(1, 3, 4, 4)),
            n.const(np.ones((3, 2, 1, 1))),
            auto_pad="SAME_UPPER",
            strides=[2, 2],
            name="it",
        ),
        17,
    ),
    (
        "shape",
        "scale or bias do not fit 3 channels",
        lambda n: n.add("InstanceNormalization", n.input(), n.const(np.ones(2)), n.const(np.ones(2)), name="it"),
        17,
    ),
    ("pads", "negative pads", lambda n: n.conv(n.input(), pads=[-1, 0, 0, 0], name="it"), 17),
    ("input-constant", "is a constant", lambda n: n.add("Relu", n.const(np.ones((1, 1, 2, 2))), name="it"), 17),
    (
        "size-unknown",
        "input's size is not known",
        lambda n: n.add(
            "ConvTranspose",
            n.input(shape=(1, 3, "H", "W")),
            n.const(np.ones((3, 2, 3, 3))),
            auto_pad="SAME_UPPER",
            strides=[2, 2],
            name="it",
        ),
        17,
    ),
    ("arity", "3 inputs", lambda n: n.add("Sum", n.input(), "x", "x", name="it"), 17),
    ("broadcast", "not one value per channel", lambda n: n.add("Add", n.input(), n.const(np.ones(16)), name="it"), 17),
    (
        "broadcast",
        "5 channels on a map with 1",
        lambda n: n.add("Add", n.input(shape=(1, 1, 4, 4)), n.const(np.ones((5, 1, 1))), name="it"),
        17,
    ),
    (
        "broadcast",
        "16 and 1 along one axis",
        lambda n: n.add("Mul", n.input(), n.input("z", (1, 3, 16, 1)), name="it"),
        17,
    ),
    (
        "broadcast",
        "batch sizes 1 and 2",
        lambda n: n.add("Mul", n.input(), n.input("z", (2, 3, 16, 16)), name="it"),
        17,
    ),
    ("broadcast", "slope of shape", lambda n: n.add("PRelu", n.input(), n.const(np.ones((3, 16, 1))), name="it"), 17),
    (
        "parameter-not-constant",
        "'max' is computed",
        lambda n: n.add("Clip", n.input(), n.const(0.0), n.input("m", ()), name="it"),
        17,
    ),
    ("axis", "axis 2", lambda n: n.add("Concat", n.input(), "x", axis=2, name="it"), 17),
    ("axis", "axis 0", lambda n: n.add("Slice", n.input(), i64(n, 0), i64(n, 1), i64(n, 0), name="it"), 17),
    (
        "shape",
        "an empty map of 0 by 16",
        lambda n: n.add("Slice", n.input(), i64(n, 7), i64(n, 5), i64(n, 2), name="it"),
        17,
    ),
    (
        "size-unknown",
        "from 0 to 7 of a size",
        lambda n: n.add("Slice", n.input(shape=(1, 3, "h", 8)), i64(n, 0), i64(n, 7), i64(n, 2), name="it"),
        17,
    ),
    (
        "size-unknown",
        "from -7 to -1 of a size",
        lambda n: n.add("Slice", n.input(shape=(1, 3, "h", 8)), i64(n, -7), i64(n, -1), i64(n, 2), name="it"),
        17,
    ),
    (
        "axis",
        "2 axes at once",
        lambda n: n.add("Slice", n.input(), i64(n, 0, 0), i64(n, 2, 2), i64(n, 1, 2), name="it"),
        17,
    ),
    ("step", "step 2", lambda n: n.add("Slice", n.input(), i64(n, 0), i64(n, 3), i64(n, 1), i64(n, 2), name="it"), 17),
    ("axis", "axis -1", lambda n: n.add("Softmax", n.input(), name="it"), 17),
    ("axis", "before opset 13", lambda n: n.add("LogSoftmax", n.input(), axis=1, name="it"), 11),
    (
        "axis",
        "over axis 3 and all behind it",
        lambda n: n.add("LayerNormalization", n.input(), n.const(np.ones(16)), name="it"),
        17,
    ),
    ("attribute", "a window of 65", lambda n: n.add("LRN", n.input(), size=65, name="it"), 17),
    ("axis", "[2] axes, only", lambda n: n.add("ReduceL2", n.input(), axes=[2], name="it"), 17),
    ("axis", "over all axes", lambda n: n.add("ReduceMax", n.input(), name="it"), 17),
    ("attribute", "keepdims 0", lambda n: n.add("ReduceMax", n.input(), axes=[1], keepdims=0, name="it"), 17),
    ("axis", "over axis 2, only", lambda n: n.add("ArgMax", n.input(), axis=2, name="it"), 17),
    ("axis", "axis 0", lambda n: n.add("Split", n.input(shape=(2, 3, 4, 4)), outputs=["a", "b"], name="it"), 17),
    (
        "indices",
        "Indices output",
        lambda n: n.add("MaxPool", n.input(), kernel_shape=[2, 2], outputs=["y", "i"], name="it"),
        17,
    ),
    (
        "mode",
        "mode cubic",
        lambda n: n.add("Resize", n.input(), "", n.const([1, 1, 2, 2]), mode="cubic", name="it"),
        17,
    ),
    (
        "mode",
        "tf_crop_and_resize",
        lambda n: n.add(
            "Resize",
            n.input(),
            n.const(np.ones(8)),
            n.const([1, 1, 2, 2]),
            coordinate_transformation_mode="tf_crop_and_resize",
            name="it",
        ),
        17,
    ),
    (
        "axis",
        "batch or channels are scaled",
        lambda n: n.add("Resize", n.input(), "", n.const([1, 2, 2, 2]), name="it"),
        17,
    ),
    (
        "parameter-not-constant",
        "'scales' is computed",
        lambda n: n.add("Resize", n.input(), "", n.input("s", (4,)), name="it"),
        17,
    ),
    (
        "parameter-not-constant",
        "indices are computed",
        lambda n: n.add("Gather", n.input(), n.input("i", (2,), TensorProto.INT64), axis=1, name="it"),
        17,
    ),
    ("rank", "indices of rank 0", lambda n: n.add("Gather", n.input(), n.const(1, np.int64), axis=1, name="it"), 17),
    (
        "axis",
        "batch or channels are padded",
        lambda n: n.add("Pad", n.input(), i64(n, 0, 1, 0, 0, 0, 0, 0, 0), name="it"),
        17,
    ),
    (
        "mode",
        "mode mirror",
        lambda n: n.add("Pad", n.input(), i64(n, 0, 0, 1, 1, 0, 0, 1, 1), mode="mirror", name="it"),
        19,
    ),
    (
        "parameter-not-constant",
        "'pads' is computed",
        lambda n: n.add("Pad", n.input(), n.input("p", (8,), TensorProto.INT64), name="it"),
        17,
    ),
    *(
        (
            "pads",
            f"negative pads [0, -1, 0, 0] in mode {mode}",
            lambda n, mode=mode: n.add("Pad", n.input(), i64(n, 0, 0, 0, -1, 0, 0, 0, 0), mode=mode, name="it"),
            19,
        )
        for mode in ("reflect", "wrap")
    ),
    ("attribute", "whole shape", lambda n: n.add("Shape", n.input(), start=2, name="it"), 17),
    ("rank", "1-dimensional window", lambda n: n.add("MaxPool", n.input(), kernel_shape=[2], name="it"), 17),
]


@pytest.mark.parametrize(("code", "text", "build", "opset"), REFUSALS, ids=[f"{r[0]}-{r[1][:24]}" for r in REFUSALS])
def test_refusals(code: str, text: str, build: Build, opset: int) -> None:
    decision = decide(build, opset)
    assert isinstance(decision, Refusal), decision
    assert decision.code == code and text in decision.reason
    assert decision.node == "it" and "\n" not in decision.reason


def test_codes_are_listed_and_tested() -> None:
    """ops/codes.py lists exactly the codes that the source raises, and each has a row above or a test of its own."""
    sources = [p.read_text() for p in pathlib.Path(rrm_onnx.ops.__path__[0]).parent.rglob("*.py")]
    raised = {code for text in sources for code in re.findall(r'Refus(?:ed|al)\(\s*"([a-z-]+)"', text)}
    returned = {code for text in sources for code in re.findall(r'return "([a-z]+-[a-z-]+)", ', text)}
    assert raised | returned == set(CODES)
    elsewhere = {
        "border",
        "region-cost",
        "region-no-conv",
        "region-sites",
        "skipped",
    }  # test_partition.py, test_match.py
    assert {r[0] for r in REFUSALS} | elsewhere == set(CODES)
