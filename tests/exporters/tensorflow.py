"""tf2onnx, keras2onnx and the converters of TFLite: NHWC outside, or at every layer."""

from __future__ import annotations

import numpy as np
import onnx
from families.layers import Family, Layers
from onnx import TensorProto

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


class Nhwc(Layers):
    """Each convolution stands between two Transposes, as before tf2onnx's optimiser."""

    def turned(self, x: str, perm: list[int]) -> str:
        return self.add("Transpose", x, perm=perm)

    def image(self, *shape: int, kind: int = TensorProto.FLOAT) -> str:
        self.channels[self.input("x", shape, kind)] = shape[-1]
        return "x"

    def conv(self, x: str, m: int, k: int = 3, s: int = 1, **more: object) -> str:  # type: ignore[override]
        c = self.channels[x]
        y = self.cv(self.turned(x, TO_NCHW), m, k, s, auto_pad="SAME_UPPER", **more)
        assert self.channels[y] == m and c
        return self.turned(y, TO_NHWC)


def transposes_at_every_layer() -> onnx.ModelProto:
    b = Nhwc(12)
    x = b.add("Relu", b.conv(b.image(1, 32, 32, 3), 16, 5, 2))
    y = b.add("Relu", b.add("Add", b.conv(b.add("Relu", b.conv(x, 16)), 16), x))
    y = b.add("Concat", y, x, axis=3)
    b.channels[y] = 32
    b.output(b.add("Softmax", b.conv(y, 5), axis=-1))
    return b.model()


def pad_before_a_stride() -> onnx.ModelProto:
    """ZeroPadding2D in NHWC, then a convolution without padding (MobileNet, EfficientNet of Keras)."""
    b = Nhwc(11)
    x = b.add("Pad", b.image(1, 32, 32, 3), b.i64(0, 0, 0, 0, 0, 1, 1, 0), b.const(0.0))
    b.channels[x] = 3
    x = b.cv(b.turned(x, TO_NCHW), 16, 3, 2, pads=[0] * 4)
    x = b.add("Pad", b.clip(x, 0, 6), b.i64(0, 0, 0, 0, 0, 0, 1, 1), b.const(0.0), mode="constant")
    b.channels[x] = 16
    x = b.cv(b.clip(b.cv(x, 16, 3, 2, group=16, pads=[0] * 4), 0, 6), 32, 1)
    b.output(b.turned(b.cv(x, 8), TO_NHWC))
    return b.model()


def batch_norm_as_mul_and_add() -> onnx.ModelProto:
    """FusedBatchNorm folded to a factor and an offset in NHWC, between the Transposes."""
    b = Nhwc(10)
    x = b.image(1, 32, 32, 3)
    for m in (16, 32):
        x = b.conv(x, m, 5, 2)
        x = b.add("Add", b.add("Mul", x, b.const(b.rng.uniform(0.5, 2, m))), b.const(b.rng.normal(0, 1, m)))
        x = b.add("Min", b.add("Relu", x), b.const(6.0))
    b.output(b.conv(x, 5, 3))
    return b.model()


def depthwise_weights_reshaped() -> onnx.ModelProto:
    """DepthwiseConv2dNative: the weights go through Transpose and Reshape in the graph."""
    b = Nhwc(13)
    x = b.turned(b.image(1, 32, 32, 3), TO_NCHW)
    x = b.add("Relu", b.cv(x, 32, 5, 2))
    weight = b.add("Transpose", b.const(b.rng.normal(0, 0.3, (3, 3, 32, 1))), perm=[3, 2, 0, 1])
    weight = b.add("Reshape", weight, b.i64(32, 1, 3, 3))
    y = b.add("Conv", x, weight, kernel_shape=[3, 3], group=32, auto_pad="SAME_LOWER")
    b.channels[y] = 32
    b.output(b.turned(b.cv(b.add("Relu", y), 16, 1), TO_NHWC))
    return b.model()


def resized(opset: int, mode: str, transform: str, nearest: str) -> onnx.ModelProto:
    """UpSampling2D, or tf.image.resize."""
    b = Nhwc(opset)
    x = b.add("Relu", b.cv(b.turned(b.image(1, 24, 32, 3), TO_NCHW), 16, 5, 2))
    modes = {"mode": mode, "coordinate_transformation_mode": transform, "nearest_mode": nearest}
    y = b.add("Resize", x, b.const([]), b.const([1, 1, 2, 2]), **modes)
    b.output(b.turned(b.cv(y, 8, 5), TO_NHWC))
    return b.model()


def resize_half_pixel_for_nn() -> onnx.ModelProto:
    return resized(11, "nearest", "tf_half_pixel_for_nn", "floor")


def resize_symmetric() -> onnx.ModelProto:
    return resized(19, "linear", "half_pixel_symmetric", "floor")


def resize_asymmetric() -> onnx.ModelProto:
    return resized(13, "linear", "asymmetric", "floor")


def pictures_in_bytes() -> onnx.ModelProto:
    """uint8 in, scaled in the graph, a channel mean taken off; Squeeze and MatMul at the end."""
    b = Nhwc(11)
    x = b.add("Cast", b.image(1, 32, 32, 3, kind=TensorProto.UINT8), to=TensorProto.FLOAT)
    x = b.add("Sub", b.add("Mul", x, b.const(1 / 127.5)), b.const([0.9, 1.0, 1.1]))
    b.channels[x] = 3
    x = b.add("Relu", b.cv(b.turned(x, TO_NCHW), 32, 5, 2))
    x = b.add("Squeeze", b.add("ReduceMean", b.turned(x, TO_NHWC), axes=[1, 2], keepdims=1), axes=[1, 2])
    b.output(b.add("Add", b.add("MatMul", x, b.const(b.rng.normal(0, 0.2, (32, 5)))), b.const(np.zeros(5))))
    return b.model()


def crops_in_nhwc() -> onnx.ModelProto:
    """Cropping2D: a StridedSlice of height and width in NHWC."""
    b = Nhwc(13)
    x = b.add("Relu", b.conv(b.image(1, 32, 32, 3), 16, 5))
    y = b.add("Slice", x, b.i64(2, 3), b.i64(-2, -3), b.i64(1, 2))
    b.channels[y] = 16
    b.output(b.conv(y, 8, 5))
    return b.model()


def keras_of_opset_7() -> onnx.ModelProto:
    """Weights as inputs (IR 3), BatchNormalization with its old attributes, Upsample with scales as an attribute."""
    b = Layers(7)
    x = b.cv(b.picture(), 16, 5, 2)
    values = [b.rng.uniform(0.5, 1.5, 16), *b.rng.normal(0, 0.1, (2, 16)), b.rng.uniform(0.5, 1.5, 16)]
    x = b.add("BatchNormalization", x, *map(b.const, values), epsilon=1e-3, momentum=0.99, spatial=1)
    b.channels[x] = 16
    x = b.add("Dropout", b.add("PRelu", x, b.const(b.rng.uniform(0, 0.3, (16, 1, 1)))), ratio=0.25)
    x = b.add("Upsample", x, mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])
    b.channels[x] = 16
    b.output(b.cv(x, 8, 5))
    for t in b.inits:
        b.input(t.name, tuple(t.dims), t.data_type)
    return b.model(ir_version=3)


TENSORFLOW = [
    Family("tf2onnx, every layer", transposes_at_every_layer, "each convolution between two Transposes"),
    Family("tf2onnx, Pad", pad_before_a_stride, "pads of their own in front of strides, in NHWC and NCHW"),
    Family("tf2onnx, BatchNormalization", batch_norm_as_mul_and_add, "Mul and Add in NHWC, Relu6 as Relu and Min"),
    Family("tf2onnx, depthwise", depthwise_weights_reshaped, "weights through Transpose and Reshape"),
    Family("tf2onnx, nearest", resize_half_pixel_for_nn, "Resize in mode tf_half_pixel_for_nn"),
    Family("tf2onnx, symmetric", resize_symmetric, "Resize in mode half_pixel_symmetric"),
    Family("tf2onnx, linear", resize_asymmetric, "Resize in mode asymmetric"),
    Family("tf2onnx, bytes", pictures_in_bytes, "uint8 pictures in NHWC, scaled in the graph"),
    Family("tf2onnx, crops", crops_in_nhwc, "slices of height and width in NHWC"),
    Family("keras2onnx", keras_of_opset_7, "opset 7: weights as inputs, old attributes"),
]
