"""Models before and after normalising, for the tests that it changes how a function is spelled, never the function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from models import Net, feeds, relative

from rrm_onnx.emit import Writer
from rrm_onnx.load import load
from rrm_onnx.normalise import normalise
from rrm_onnx.thresholds import Gates
from rrm_onnx.types import Normalised, Plan

ort = pytest.importorskip("onnxruntime")


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
        None, inputs
    )


def spelled_out(normal: Normalised) -> onnx.ModelProto:
    """The normalised graph as a plain ONNX model: everything dense, composites in standard operators."""
    writer = Writer(normal, Plan((), {}, {}), Gates(), False)
    for node in normal.graph.nodes:
        writer.add(node)
    model = writer.finish()
    del model.opset_import[-1]  # rrm, of which nothing is left
    return model


def same_function(model: onnx.ModelProto, **kwargs: object) -> Counter[str]:
    """Operators of the normalised graph, after checking that it computes what the model does."""
    normal = normalise(load(model), **kwargs)  # type: ignore[arg-type]
    plain = spelled_out(normal)
    inputs = feeds(plain)
    for got, want in zip(run(plain, inputs), run(model, inputs), strict=True):
        assert got.shape == want.shape
        assert relative(got, want) < 2e-6
    return Counter(n.op for n in normal.graph.nodes)


def between(build: Callable[[Net, str], str], opset: int = 13, channels: int = 8) -> onnx.ModelProto:
    """x -> Conv -> what `build` makes of it -> padded Conv -> y."""
    net = Net(opset)
    t = build(net, net.conv(net.input(), 8, name="conv_a"))
    net.output(net.conv(t, 4, channels, name="conv_b", out="y"))
    return net.model()
