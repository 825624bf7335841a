"""One module per operator family: what the converter accepts, and the NumPy definition of the rrm operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what reads the nodes of a converted model needs no evaluator
    from onnx.reference.op_run import OpRun


def reference_ops() -> list[type[OpRun]]:
    """The NumPy definitions of all rrm operators, for `onnx.reference.ReferenceEvaluator(unpack(model), new_ops=...)`
    (`rrm_onnx.pack.unpack`)."""
    # Imported here: the families import this package.
    from rrm_onnx.ops.activation import Activation
    from rrm_onnx.ops.arg_max import ArgMax
    from rrm_onnx.ops.channel_reduce import ChannelReduce
    from rrm_onnx.ops.conv import Conv, ConvAdd
    from rrm_onnx.ops.conv_transpose import ConvTranspose
    from rrm_onnx.ops.elementwise import Binary, BinaryConst
    from rrm_onnx.ops.enter_exit import Enter, EnterStream, Exit
    from rrm_onnx.ops.global_pool import GlobalAveragePool, GlobalMaxPool
    from rrm_onnx.ops.layer_norm import LayerNormalization
    from rrm_onnx.ops.lrn import LRN
    from rrm_onnx.ops.pad import Pad, PadLike
    from rrm_onnx.ops.pool import AveragePool, MaxPool
    from rrm_onnx.ops.resize import Resize, ResizeLike
    from rrm_onnx.ops.separable_conv import SeparableConv, SeparableConvAdd
    from rrm_onnx.ops.shape import MapShape
    from rrm_onnx.ops.shuffle import ChannelGather, DepthToSpace, SpaceToDepth
    from rrm_onnx.ops.softmax import Softmax
    from rrm_onnx.ops.views import ChannelRanges, Concat, Slice

    return [
        *(Enter, EnterStream, Exit, MapShape, Concat, Slice, ChannelRanges, ChannelGather),
        *(Conv, ConvAdd, SeparableConv, SeparableConvAdd, ConvTranspose, Activation, Binary, BinaryConst),
        *(
            MaxPool,
            AveragePool,
            GlobalAveragePool,
            GlobalMaxPool,
            Softmax,
            LayerNormalization,
            LRN,
            ArgMax,
            ChannelReduce,
        ),
        *(Resize, ResizeLike, SpaceToDepth, DepthToSpace, Pad, PadLike),
    ]
