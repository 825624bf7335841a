"""A small network and a small clip for the tests of everything around the conversion."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 64


def cnn(channels: int = 3, size: int | None = SIZE, weights_as_inputs: bool = False) -> onnx.ModelProto:
    """x (1, channels, size, size) -> Conv 3x3 to 8, Relu, Conv 3x3 stride 2 to 16, Relu, Conv 1x1 to 4 -> y.

    size None leaves batch, height and width open.
    """
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    nodes = []
    x, before = "x", channels
    for k, (after, kernel, stride) in enumerate([(8, 3, 1), (16, 3, 2), (4, 1, 1)]):
        weights[f"w{k}"] = rng.normal(0, (before * kernel**2) ** -0.5, (after, before, kernel, kernel))
        weights[f"b{k}"] = rng.normal(0, 0.1, after)
        out = "y" if k == 2 else f"c{k}"
        pads = [kernel // 2] * 4
        nodes.append(
            helper.make_node("Conv", [x, f"w{k}", f"b{k}"], [out], f"conv{k}", pads=pads, strides=[stride] * 2)
        )
        x = out
        if k < 2:
            nodes.append(helper.make_node("Relu", [x], [f"r{k}"], f"relu{k}"))
            x = f"r{k}"
        before = after
    shape: list[Any] = ["N", channels, "H", "W"] if size is None else [1, channels, size, size]
    half: list[Any] = ["N", 4, "H2", "W2"] if size is None else [1, 4, size // 2, size // 2]
    held = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    if weights_as_inputs:
        inputs += [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.dims) for t in held]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, half)]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(count: int, width: int = SIZE, height: int = SIZE) -> list[np.ndarray]:
    """uint8 (height, width, 3): a bright square that moves over a still, textured ground."""
    ground = np.random.default_rng(1).integers(0, 120, (height, width, 3), np.uint8)
    frames = []
    for t in range(count):
        picture = ground.copy()
        picture[8:20, 2 * t : 2 * t + 12] = 255
        frames.append(picture)
    return frames


def feeds(count: int, size: int = SIZE) -> list[dict[str, np.ndarray]]:
    """`pictures` as inputs of `cnn`."""
    return [{"x": np.ascontiguousarray(p.transpose(2, 0, 1)[None], np.float32)} for p in pictures(count, size, size)]


def write_clip(path: pathlib.Path, frames: list[np.ndarray]) -> pathlib.Path:
    """A video without loss."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "bgr0"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")))
        out.mux(stream.encode())
    return path


def noisy(count: int, size: int = 32, sigma: float = 1.0, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Inputs of `cnn` as a camera gives them: a square moves over a still ground, and noise is in every pixel."""
    rng = np.random.default_rng(seed)
    ground = np.random.default_rng(1).uniform(0, 120, (1, 3, size, size))
    frames = []
    for t in range(count):
        x = ground + rng.normal(0, sigma, ground.shape)
        left = t % (size - 8)
        x[:, :, 8:16, left : left + 8] = 250
        frames.append({"x": x.astype(np.float32)})
    return frames
