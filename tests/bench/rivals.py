"""Other ways to run the original model that the pairs are timed beside: OpenVINO, and ONNX Runtime on int8 weights.

Each is a `run(names, feed)` for rrm_onnx.bench.interleave, or raises Unavailable with the reason.
"""

from __future__ import annotations

import importlib
import logging
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from rrm_onnx import yardstick

CALIBRATION_FRAMES = 8
BY_CHANNEL = 13  # opset from which on DequantizeLinear has an axis
FIRST, BF16, INT8 = "OpenVINO", "OpenVINO bf16", "int8"
Feed = Mapping[str, np.ndarray]


class Unavailable(Exception):
    """Why a rival cannot be timed here, in one line."""


class OpenVino:
    """The original in OpenVINO on the CPU, one stream of so many threads, at the size of `feed`.

    precision: f32 or bf16. Inputs and outputs are passed without a copy: what `run` returns is valid until the next.
    """

    def __init__(self, model: onnx.ModelProto, feed: Feed, threads: int, precision: str, denormals: bool) -> None:
        try:
            openvino: Any = importlib.import_module("openvino")
        except ModuleNotFoundError as error:
            raise Unavailable('openvino is not installed: pip install ".[bench]"') from error
        except ImportError as error:
            raise Unavailable(f"openvino does not load: {yardstick.first_line(error)}") from error
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise Unavailable("this CPU has no bf16")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_HYPER_THREADING": False,
            "INFERENCE_PRECISION_HINT": precision,
            "CPU_DENORMALS_OPTIMIZATION": not denormals,
        }
        try:
            graph = core.read_model(yardstick.dense_model(model).SerializeToString())
            if graph.is_dynamic():
                graph.reshape({name: list(value.shape) for name, value in feed.items()})
            self._compiled = core.compile_model(graph, "CPU", settings)
        except RuntimeError as error:
            raise Unavailable(f"openvino: {yardstick.first_line(error)}") from error
        self._request = self._compiled.create_infer_request()

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self._request.infer(feed, share_inputs=True, share_outputs=True)
        return [self._request.get_tensor(name).data for name in names]


class Frames:
    """Calibration data for onnxruntime's quantisation."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._left = list(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return dict(self._left.pop(0)) if self._left else None


def int8_session(model: onnx.ModelProto, feeds: Sequence[Feed], threads: int, entries: Mapping[str, str]) -> Any:
    """The original in ONNX Runtime, quantised on the first frames: weights by channel where the model's opset has that,
    activations by tensor."""
    try:
        importlib.import_module("onnxruntime.quantization")
    except ImportError as error:
        raise Unavailable(yardstick.first_line(error)) from error
    logging.disable(logging.WARNING)  # it advises on standard error, node by node
    try:
        plain = yardstick.dense_model(model)
        opset = next(o.version for o in plain.opset_import if o.domain in ("", "ai.onnx"))
        session = yardstick.dense_session(quantised(plain, feeds, opset >= BY_CHANNEL), threads, entries)
        yardstick.run(session, [o.name for o in session.get_outputs()], feeds[0])
        return session
    except Exception as error:  # whatever it stumbles over, the model has no int8 form then
        raise Unavailable(f"onnxruntime.quantization: {yardstick.first_line(error)}") from error
    finally:
        logging.disable(logging.NOTSET)


def quantised(model: onnx.ModelProto, feeds: Sequence[Feed], by_channel: bool) -> onnx.ModelProto:
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    prepare: Any = importlib.import_module("onnxruntime.quantization.shape_inference").quant_pre_process
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, done = (str(pathlib.Path(folder) / f"{name}.onnx") for name in ("plain", "ready", "done"))
        onnx.save(model, plain)
        prepare(plain, ready, skip_symbolic_shape=True)
        quantization.quantize_static(
            ready,
            done,
            Frames(feeds[:CALIBRATION_FRAMES]),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=by_channel,
            reduce_range=not _multiplies_bytes(),
        )
        return onnx.load(done)


def _multiplies_bytes() -> bool:
    """Without VNNI, sums of products of bytes saturate unless the weights keep a bit free."""
    path = pathlib.Path("/proc/cpuinfo")
    return not path.exists() or "vnni" in path.read_text()


def available(wanted: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """What could be made of the wanted rivals, and the reason for each of the others."""
    made, reasons = dict[str, Any](), dict[str, str]()
    for name, make in wanted.items():
        try:
            made[name] = make()
        except Unavailable as reason:
            reasons[name] = str(reason)
    return made, reasons
