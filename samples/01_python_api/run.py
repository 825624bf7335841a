"""Convert a network, run a clip, see what was computed: the whole Python interface. See README.md beside this file."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import rrm_onnx

SIZE, FRAMES = 160, 12


def network() -> onnx.ModelProto:
    """image (1, 3, 160, 160) -> four 3x3 convolutions with Relu, the second of stride 2, and Resize -> mask."""
    rng = np.random.default_rng(0)
    nodes, weights, x, channels = [], [], "image", 3
    for k, (wide, stride) in enumerate([(16, 1), (32, 2), (32, 1), (1, 1)]):
        w = rng.normal(0, (2 / (9 * channels)) ** 0.5, (wide, channels, 3, 3)).astype(np.float32)
        weights += [numpy_helper.from_array(w, f"w{k}"), numpy_helper.from_array(np.zeros(wide, np.float32), f"b{k}")]
        nodes.append(
            helper.make_node("Conv", [x, f"w{k}", f"b{k}"], [f"c{k}"], f"conv{k}", strides=[stride] * 2, pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [f"c{k}"], [f"r{k}"], f"relu{k}"))
        x, channels = f"r{k}", wide
    weights.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    nodes.append(helper.make_node("Resize", [x, "", "scales"], ["mask"], "resize", mode="nearest"))
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])]
    outputs = [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, SIZE, SIZE])]
    graph = helper.make_graph(nodes, "sample", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def clip() -> list[np.ndarray]:
    """Frames (1, 3, 160, 160), values 0..1: a disc moves over a still ground, with a little noise everywhere."""
    rng = np.random.default_rng(1)
    ground = rng.random((1, 3, SIZE, SIZE), np.float32)
    y, x = np.mgrid[:SIZE, :SIZE]
    frames = []
    for t in range(FRAMES):
        disc = np.hypot(y - 60, x - 30 - 4 * t) < 14
        noise = rng.normal(0, 0.002, ground.shape).astype(np.float32)
        frames.append(np.where(disc, np.float32(1), ground) + noise)
    return frames


def share_done(session: rrm_onnx.InferenceSession) -> float:
    """Multiply-accumulates done over those of a dense run, since the counts were last reset."""
    nodes = session.stats()["nodes"]
    return sum(n["macs_done"] for n in nodes) / sum(n["macs_dense"] for n in nodes)


def main() -> None:
    model, frames = network(), clip()
    print("tolerance  computed  error")
    for tolerance in (0.0, 0.02):
        converted = rrm_onnx.convert(model, tolerance=tolerance)
        session = rrm_onnx.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
        session.run(None, {"image": frames[0]})  # the first frame computes everything
        session.reset_stats()
        for frame in frames[1:]:
            session.run(["mask"], {"image": frame})
        report = rrm_onnx.verify(model, converted, ({"image": frame} for frame in frames), rtol=0.1)
        assert report.ok, report.failures
        print(f"{tolerance:9}  {share_done(session):8.1%}  {report.outputs[0].mean_error:.1e}")


if __name__ == "__main__":
    main()
