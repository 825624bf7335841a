"""Every attribute of the rrm operators, and what it means. The converter always writes all that an operator has."""

from __future__ import annotations

from collections.abc import Mapping

ATTRIBUTES: Mapping[str, str] = {
    "activation": "the function of each output element, `None` for none",
    "activation_params": "its parameters, in the order of ONNX's attributes or inputs; a slope per channel for PRelu",
    "alpha": "the factor of the mean of squares, as in ONNX",
    "auto_pad": "NOTSET, VALID, SAME_UPPER or SAME_LOWER, as in ONNX: pads that follow from the input's size",
    "beta": "the power of the divisor",
    "bias": "what is added to the scaled squares",
    "blocksize": "height and width of a block",
    "ceil_mode": "1: a last window that hangs over the end counts",
    "channels_last": "1: the dense tensor is NHWC",
    "coordinate_transformation_mode": "half_pixel, pytorch_half_pixel, asymmetric or align_corners, as in ONNX",
    "count_include_pad": "1: padding counts in the mean",
    "dilations": "steps within the window, over height and width",
    "end": "the channel behind the last one",
    "epsilon": "what is added to the variance",
    "group": "into how many groups channels and outputs are cut",
    "indices": "the input channel of each output channel",
    "inner_activation": "the function of each element between the two convolutions",
    "inner_activation_params": "its parameters",
    "inner_scale": "as `scale`, of the tensor between the two convolutions",
    "inner_threshold": "as `threshold`, of the gate between the two convolutions; 0, as always with an addend: none",
    "kernel_shape": "height and width of the window",
    "log": "1: the logarithm of it",
    "mode": "Resize: nearest or linear; DepthToSpace: DCR or CRD; Pad: constant, reflect or edge",
    "nearest_mode": "round_prefer_floor, round_prefer_ceil, floor or ceil, as in ONNX",
    "op": "the function of two elements",
    "output_padding": "rows and columns added at the end of the output",
    "pads": "rows and columns added: top, left, bottom, right",
    "reverse": "1: the constant stands on the left",
    "scale": "the usual size (RMS) of the tensor; 0: measured on the stream's first frame",
    "scales": "of height and width; empty where `sizes` are given",
    "size": "channels of the window",
    "sizes": "height and width of the output; empty where `scales` are given",
    "start": "the first channel",
    "strides": "steps of the window, over height and width",
    "threshold": "of the gate, as a share of `scale`; 0 is exact",
    "value": "what is padded with in mode constant",
}
