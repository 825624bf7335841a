"""Every real model of the corpus converts, or stays as it is and says in one line why."""

from __future__ import annotations

import lzma
import pathlib
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from models import attrs, dense_ops, feeds, relative, rrm_nodes

from rrm_onnx.common import default_opset
from rrm_onnx.pack import nodes_of
from rrm_onnx.pipeline import Converted, run
from rrm_onnx.types import Options

ort = pytest.importorskip("onnxruntime")

# Models that are one region from end to end: file, operators outside, numbers of Enter and Exit.
WHOLE: dict[str, tuple[dict[str, int], int, int]] = {
    "models/flies-unet-1024.onnx": ({}, 1, 3),
    "models/flies-multiclass-512.onnx": ({}, 1, 2),
    "models/yolox-nano-416.onnx": ({"Reshape": 3, "Concat": 1}, 1, 3),
    "models/ppocr-v4-det.onnx": ({}, 1, 1),
    "models/ppocr-v6-det-small.onnx": ({}, 1, 1),
    "models/movenet-lightning-192.onnx.xz": ({}, 1, 4),
    "models/bodypix-433x769.onnx": ({}, 1, 8),
    "models/selfie-landscape.onnx": ({}, 1, 1),
    "models/road-seg-icnet-512x896.onnx": ({}, 1, 1),
    "models/nanodet-m-320.onnx": ({"Reshape": 6, "Transpose": 6}, 1, 6),
    "models/fastestdet-352.onnx": ({}, 1, 1),
    "models/squeezenet-deepcompression-227.onnx": ({"Flatten": 1, "Softmax": 1}, 1, 1),
    "odd/deeplab_v3_tf2onnx_op9.onnx": ({}, 1, 1),
    "odd/espcn_sr_dynamo_op20.onnx": ({}, 1, 1),
    "odd/nanotrackv3_backbone_op14.onnx": ({}, 1, 1),
    "odd/road_seg_adas_nhwc_op11.onnx": ({}, 1, 1),
    "odd/unet_dynamo_op22.onnx": ({}, 1, 1),
    "odd/mnist_cntk_op7.onnx": ({"Flatten": 1}, 1, 1),
    "odd/squeezenet_fp16_caffe2_op7.onnx": ({"Cast": 2}, 1, 1),
    "odd/fsrcnn_fp16_op11.onnx": ({"Cast": 2}, 1, 1),
    "odd/mosaic_nc8_op9.onnx": ({}, 1, 1),
    "odd/fns_candy_winml_op7.onnx": ({}, 1, 1),
    "odd/rvm_recurrent_tfjs.onnx.xz": ({"Identity": 4}, 5, 6),
}
# Models of which parts convert: dense operators stand between regions.
PARTS = (
    "odd/silero_vad_op15_ts.onnx",
    "models/face-binary.onnx",
    "models/ultraface-rfb-320.onnx",
    "models/xnor-resnet18-fp1.onnx.xz",
    "odd/fastestdet_op16.onnx",
    "odd/nanodet_m_op11.onnx",
    "odd/ultraface_rfb320_op9.onnx",
)
# Models that stay as they are, and the reason.
UNCHANGED = {
    "models/twinlitenet-320-int8-qdq.onnx": "is quantised",
    "odd/yunet_n_320_qdq_int8_op13.onnx": "is quantised",
    "odd/yolov8n_dynint8_op22.onnx": "ConvInteger has no rrm operator",
    "odd/dtln_model_1_keras2onnx_op11.onnx": "has no convolution",
    "odd/dtln_model_2_conv1d_op11.onnx": "every map of its region is a single site",
}


def read(corpus: pathlib.Path, name: str) -> onnx.ModelProto:
    content = (corpus / name).read_bytes()
    return onnx.load_from_string(lzma.decompress(content) if name.endswith(".xz") else content)


def converted(model: onnx.ModelProto, **options: Any) -> Converted:
    """Convert and check what holds for every result."""
    found = run(model, Options(**options))
    weights = {t.name for t in model.graph.initializer}
    assert list(found.model.graph.input) == [i for i in model.graph.input if i.name not in weights]
    assert found.model.graph.output == model.graph.output
    assert default_opset(found.model) == default_opset(model)
    names = [n.name for n in nodes_of(found.model)]
    assert len(set(names)) == len(names)
    for node in rrm_nodes(found.model):
        written = attrs(node)
        assert all(isinstance(v, (int, float, str, list)) for v in written.values())
        if node.op_type in ("Conv", "ConvTranspose"):
            assert len(node.input) == 3 and {"threshold", "scale", "activation", "pads"} <= written.keys()
    dense = Counter({n for d in found.report.dense for n in d.nodes})
    assert sum(dense.values()) == found.report.nodes_dense
    return found


def test_every_model_is_listed(corpus: pathlib.Path) -> None:
    have = {f"{p.parent.name}/{p.name}" for folder in ("models", "odd") for p in (corpus / folder).iterdir()}
    assert have == {*WHOLE, *PARTS, *UNCHANGED}


@pytest.mark.parametrize("name", WHOLE)
def test_whole(corpus: pathlib.Path, name: str) -> None:
    outside, enters, exits = WHOLE[name]
    found = converted(read(corpus, name))
    assert Counter(dense_ops(found.model)) == outside
    assert len(found.report.regions) == 1
    assert (len(rrm_nodes(found.model, "Enter")), len(rrm_nodes(found.model, "Exit"))) == (enters, exits)


@pytest.mark.parametrize("name", PARTS)
def test_parts(corpus: pathlib.Path, name: str) -> None:
    found = converted(read(corpus, name))
    assert found.report.regions and found.report.dense
    assert all(d.reason and d.code for d in found.report.dense)


@pytest.mark.parametrize("name", UNCHANGED)
def test_unchanged(corpus: pathlib.Path, name: str) -> None:
    """They load where the original does, and say why nothing was converted."""
    model = read(corpus, name)
    found = run(model)
    assert [n.op_type for n in found.model.graph.node] == [n.op_type for n in model.graph.node]
    assert found.report.unchanged and UNCHANGED[name] in found.report.unchanged and "\n" not in found.report.unchanged
    assert found.report.dense and found.report.nodes_dense
    ort.InferenceSession(found.model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_dynamic_model_with_shapes(corpus: pathlib.Path) -> None:
    """With its size given, a dynamic model converts to the same nodes, and the costs are known."""
    model = read(corpus, "models/ppocr-v4-det.onnx")
    free = run(model)
    fixed = run(model, Options(input_shapes={"x": (1, 3, 576, 1024)}))
    assert free.report.macs_inside is None
    assert fixed.report.macs_inside == fixed.report.macs_total
    assert fixed.report.macs_total is not None and fixed.report.macs_total > 1e9
    ops = [Counter(n.op_type for n in nodes_of(m.model)) for m in (free, fixed)]
    assert ops[0] == ops[1]


@pytest.mark.parametrize(
    "name", ["models/yolox-nano-416.onnx", "models/movenet-lightning-192.onnx.xz", "models/bodypix-433x769.onnx"]
)
def test_streams_and_tolerance(corpus: pathlib.Path, name: str) -> None:
    found = run(read(corpus, name), Options(tolerance=0.02, streams=True)).model
    gated = [n for n in rrm_nodes(found) if n.op_type in ("EnterStream", "Conv", "ConvTranspose")]
    assert all(attrs(n)["threshold"] == pytest.approx(0.02) for n in gated)
    assert [i.name for i in found.graph.input][-3:] == ["rrm_stream", "rrm_reset", "rrm_tolerance"]


@pytest.mark.parametrize("name", [n for n in (*WHOLE, *PARTS) if "xnor" not in n and "binary" not in n])
def test_same_values(corpus: pathlib.Path, library: str, name: str) -> None:
    """Two pictures that share a part, then the first again: as dense, within rounding.

    Left out: binary networks, where rounding flips signs. On noise some networks differ more, as do two
    optimisation levels of onnxruntime itself (up to 4e-4, PP-OCRv6), so this asks for 1e-3 only.
    """
    model = read(corpus, name)
    weights = {t.name for t in model.graph.initializer}
    options = ort.SessionOptions()
    options.register_custom_ops_library(library)
    session = ort.InferenceSession(run(model).model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    plain = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    small = {
        "x": (1, 3, 96, 128),
        "y": (1, 1, 48, 64),
        "input": (1, 576),
        "state": (2, 1, 128),
    }  # the inputs with open sizes
    first = {k: v for k, v in feeds(model).items() if k not in weights}
    for k, shape in small.items():
        if k in first and name.startswith(("models/ppocr", "odd/espcn", "odd/silero")):
            first[k] = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    second = {k: v.copy() for k, v in first.items()}
    for v in second.values():
        if v.ndim:
            v[..., : v.shape[-1] // 2] += 0.5
    for inputs in (first, second, first):
        for got, want in zip(session.run(None, inputs), plain.run(None, inputs), strict=True):
            assert relative(got, want) < 1e-3 or np.abs(got - want).max() < 1e-6  # a sigmoid far below zero
