"""The single operators that `rrm-onnx bench --op` times: a table, and the one-operator model of each row."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rrm_onnx import partition, pipeline
from rrm_onnx.common import did_you_mean
from rrm_onnx.errors import RrmError
from rrm_onnx.match import match
from rrm_onnx.types import Options

OPSET, IR_VERSION = 17, 8
RESNET = "resnet50"
BEFORE = "Neg"  # a node of the region whose rows change as the input's do
# (channels between, channels out, size, blocks) of the stages of ResNet-50 at 224 x 224
RESNET_STAGES = ((64, 256, 56, 3), (128, 512, 28, 4), (256, 1024, 14, 6), (512, 2048, 7, 3))


@dataclasses.dataclass(frozen=True)
class Case:
    """One operator on maps of `channels` x `size` x `size`. `out`: channels of the result; `count`: how often a network
    has it, where the table is one of a network's."""

    name: str
    op: str
    channels: int
    out: int
    size: int
    kernel: int = 1
    stride: int = 1
    group: int = 1
    dilation: int = 1
    count: int = 1

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("a", "b") if self.op == "Add" else ("a",)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of each input."""
        return 1, self.channels, self.size, self.size

    def __str__(self) -> str:
        parts = [self.op]
        if self.op not in ("Add", "Resize"):
            parts.append(f"{self.kernel}x{self.kernel}")
        parts += [f"s{self.stride}"] if self.stride > 1 else []
        parts += [f"d{self.dilation}"] if self.dilation > 1 else []
        parts += [f"g{self.group}"] if self.group > 1 else []
        return " ".join([*parts, f"{self.channels}->{self.out}", f"{self.size}x{self.size}"])


def conv(name: str, channels: int, out: int, size: int, kernel: int, **more: int) -> Case:
    return Case(name, "Conv", channels, out, size, kernel, **more)


CASES = (
    conv("conv3x3-64", 64, 64, 56, 3),
    conv("conv3x3-128", 128, 128, 28, 3),
    conv("conv3x3-256", 256, 256, 14, 3),
    conv("conv3x3-512", 512, 512, 7, 3),
    conv("conv1x1-64", 64, 256, 56, 1),
    conv("conv1x1-512", 512, 512, 14, 1),
    conv("conv1x1-1024", 1024, 2048, 7, 1),
    conv("depthwise3x3", 96, 96, 56, 3, group=96),
    conv("depthwise5x5", 240, 240, 14, 5, group=240),
    conv("first7x7", 3, 64, 224, 7, stride=2),
    conv("first3x3", 3, 16, 224, 3, stride=2),
    conv("grouped3x3", 128, 128, 28, 3, group=32),
    conv("dilated3x3", 64, 64, 56, 3, dilation=2),
    Case("transposed2x2", "ConvTranspose", 128, 64, 28, 2, stride=2),
    Case("maxpool3x3", "MaxPool", 64, 64, 112, 3, stride=2),
    Case("resize", "Resize", 128, 128, 28, stride=2),
    Case("add", "Add", 256, 256, 56),
)


def resnet50() -> list[Case]:
    """The 53 convolutions of ResNet-50 (stride in the 3x3), equal ones once with their count."""
    found = [conv("", 3, 64, 224, 7, stride=2)]
    before, size = 64, 56
    for between, out, after, blocks in RESNET_STAGES:
        stride = size // after
        found += [conv("", before, between, size, 1), conv("", between, between, size, 3, stride=stride)]
        found += [conv("", between, out, after, 1), conv("", before, out, size, 1, stride=stride)]
        rest = [
            conv("", out, between, after, 1),
            conv("", between, between, after, 3),
            conv("", between, out, after, 1),
        ]
        found += rest * (blocks - 1)
        before, size = out, after
    counted = collections.Counter(found).items()
    return [dataclasses.replace(c, name=f"{RESNET}-{k}", count=n) for k, (c, n) in enumerate(counted)]


def cases(names: tuple[str, ...]) -> list[Case]:
    """The rows of these names; `all` is the table, `resnet50` that network's convolutions."""
    known = {case.name: [case] for case in CASES} | {"all": list(CASES), RESNET: resnet50()}
    for name in names:
        if name not in known:
            raise RrmError(f"no operator to time is named {name}", hint=did_you_mean(name, known))
    return list(dict.fromkeys(case for name in names for case in known[name]))


def model_of(case: Case, behind: bool = False) -> onnx.ModelProto:
    """A graph of this one operator: a (and b) -> y, random weights. behind: behind a BEFORE of each input."""
    rng = np.random.default_rng(0)
    held: dict[str, np.ndarray[Any, Any]] = {}
    inputs = [f"{name}/{BEFORE}" for name in case.inputs] if behind else list(case.inputs)
    nodes = [helper.make_node(BEFORE, [a], [b], b) for a, b in zip(case.inputs, inputs, strict=True) if behind]
    attributes: dict[str, Any] = {}
    if case.op in ("Conv", "ConvTranspose", "MaxPool"):
        attributes |= {"kernel_shape": [case.kernel] * 2, "strides": [case.stride] * 2}
    if case.op in ("Conv", "ConvTranspose"):
        attributes |= {"group": case.group, "dilations": [case.dilation] * 2}
        per_group = (case.channels if case.op == "Conv" else case.out) // case.group
        shape = (case.out if case.op == "Conv" else case.channels, per_group, case.kernel, case.kernel)
        held["w"] = rng.normal(0, (case.channels // case.group * case.kernel**2) ** -0.5, shape)
        held["bias"] = rng.normal(0, 0.1, case.out)
        inputs += ["w", "bias"]
    if case.op in ("Conv", "MaxPool"):
        attributes["pads"] = [case.dilation * (case.kernel - 1) // 2] * 4
    if case.op == "Resize":
        held["scales"] = np.array([1, 1, case.stride, case.stride])
        inputs += ["", "scales"]
        attributes |= {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, case.shape) for name in case.inputs]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, case.out, None, None])
    node = helper.make_node(case.op, inputs, ["y"], "op", **attributes)
    constants = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in held.items()]
    graph = helper.make_graph([*nodes, node], case.name, ports, [result], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def convert(model: onnx.ModelProto, tolerance: float = 0, **options: Any) -> onnx.ModelProto:
    """As rrm_onnx.convert, but also where a region would not be worth its borders. options: those of types.Options."""
    planned = pipeline.decide(model, Options(tolerance, **options))
    plan = partition.everything(planned.normal.graph, match(planned.normal))
    return pipeline.write(dataclasses.replace(planned, plan=plan)).model
