"""torch.onnx.export(dynamo=True): local functions, axes as inputs, every attribute written out, metadata everywhere."""

from __future__ import annotations

import numpy as np
import onnx
from families.layers import Family, Layers
from onnx import helper

from exporters.torch_script import OPEN, stem

LIBRARY = "pkg.onnxscript.torch_lib"


def local_functions() -> onnx.ModelProto:
    """Operators of ATen as functions of the model, which call each other."""
    b = Layers(18)
    x = b.add("aten_silu", stem(b), domain=LIBRARY)
    b.output(b.cv(b.add("aten_relu6", b.cv(x, 16), domain=LIBRARY), 8, 5))
    model = b.model()
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(LIBRARY, 1)]
    node = helper.make_node
    gate = helper.make_function(LIBRARY, "gate", ["x"], ["y"], [node("Sigmoid", ["x"], ["y"])], imports)
    silu = [node("gate", ["x"], ["s"], domain=LIBRARY), node("Mul", ["x", "s"], ["y"])]
    six = helper.make_tensor("six", onnx.TensorProto.FLOAT, [], [6.0])
    relu6 = [node("Relu", ["x"], ["r"]), node("Constant", [], ["c"], value=six), node("Min", ["r", "c"], ["y"])]
    model.functions.append(gate)
    model.functions.append(helper.make_function(LIBRARY, "aten_silu", ["x"], ["y"], silu, imports))
    model.functions.append(helper.make_function(LIBRARY, "aten_relu6", ["x"], ["y"], relu6, imports))
    model.opset_import.append(helper.make_opsetid(LIBRARY, 1))
    return model


def metadata() -> onnx.ModelProto:
    """Shapes of initializers in value_info, properties on the model, its nodes and its values."""
    b = Layers(20)
    b.output(b.cv(b.add("Gelu", b.cv(stem(b), 16), approximate="tanh"), 8, 5))
    model = b.model(ir_version=10)
    for t in model.graph.initializer:
        model.graph.value_info.append(helper.make_tensor_value_info(t.name, t.data_type, t.dims))
    for holder in (model, model.graph, *model.graph.node, *model.graph.value_info):
        entry = holder.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.fx_node", "%conv2d : call_function[target=aten.conv2d.default]"
    return model


def axes_as_inputs() -> onnx.ModelProto:
    """Opset 18: ReduceMean, Split with num_outputs, Squeeze and Pad with axes."""
    b = Layers(18)
    x = b.add("Pad", stem(b), b.i64(1, 1, 1, 1), "", b.i64(-2, -1), mode="reflect")
    left, right = f"{x}/a", f"{x}/b"
    b.add("Split", x, outputs=[left, right], axis=1, num_outputs=2)
    b.channels.update({left: 16, right: 16})
    gate = b.add("ReduceMean", right, b.i64(-1, -2), keepdims=1, noop_with_empty_axes=0)
    x = b.add("Mul", left, b.add("Sigmoid", gate))
    v = b.add("ReduceMean", b.add("Relu", b.cv(x, 32, 5)), b.i64(2, 3), keepdims=0)
    b.output(b.linear(v, 32, 5))
    return b.model()


def resize_with_all_attributes() -> onnx.ModelProto:
    b = Layers(19)
    x = stem(b, "s0", 3, "s1", "s2")
    modes = {
        "antialias": 0,
        "coordinate_transformation_mode": "half_pixel",
        "cubic_coeff_a": -0.75,
        "exclude_outside": 0,
        "extrapolation_value": 0.0,
        "keep_aspect_ratio_policy": "stretch",
        "mode": "linear",
        "nearest_mode": "floor",
    }
    b.output(b.cv(b.add("Resize", x, "", b.const([1, 1, 2, 2]), **modes), 8, 5))
    return b.model()


def symbolic_sizes() -> onnx.ModelProto:
    """sym_size_int: Shape with start and end, Squeeze, and back by Reshape and Concat."""
    b = Layers(18)
    x = stem(b, "s0", 3, "s1", "s2")
    sizes = [b.add("Reshape", b.add("Squeeze", b.add("Shape", x, start=a, end=a + 1)), b.i64(-1)) for a in (2, 3)]
    n = b.add("Shape", x, start=0, end=1)
    to = b.add("Concat", n, b.i64(2), b.i64(16), *sizes, axis=0)
    y = b.add("Transpose", b.add("Reshape", x, to, allowzero=1), perm=[0, 2, 1, 3, 4])
    y = b.add("Reshape", y, b.add("Concat", n, b.i64(32), *sizes, axis=0), allowzero=1)
    b.channels[y] = 32
    b.output(b.cv(y, 8, 5))
    return b.model()


def group_norm() -> onnx.ModelProto:
    """native_group_norm: InstanceNormalization of [N, groups, -1] between two Reshapes, then a line a channel."""
    b = Layers(18)
    x = stem(b)
    y = b.add("Reshape", x, b.i64(0, 8, -1))
    y = b.add("InstanceNormalization", y, b.const(np.ones(8)), b.const(np.zeros(8)), epsilon=1e-5)
    y = b.add("Reshape", y, b.i64(1, 32, 16, 16))
    y = b.add(
        "Add", b.add("Mul", y, b.const(b.rng.uniform(0.5, 2, (32, 1, 1)))), b.const(b.rng.normal(0, 1, (32, 1, 1)))
    )
    b.channels[y] = 32
    b.output(b.cv(b.add("Relu", y), 8, 5))
    return b.model()


DYNAMO = [
    Family("torch.onnx dynamo, functions", local_functions, "operators of ATen as functions of the model"),
    Family("torch.onnx dynamo, metadata", metadata, "value_info of initializers, properties on every node"),
    Family("torch.onnx dynamo, axes", axes_as_inputs, "axes as inputs, Split by num_outputs"),
    Family("torch.onnx dynamo, Resize", resize_with_all_attributes, "every attribute of Resize", sizes=OPEN),
    Family("torch.onnx dynamo, sizes", symbolic_sizes, "Shape with start and end, Reshape with allowzero", sizes=OPEN),
    Family("torch.onnx dynamo, groups", group_norm, "GroupNorm as InstanceNormalization between Reshapes"),
]
