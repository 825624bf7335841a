"""Cases drawn at random, of the same kind as the table's: `random_case` for each operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from case import CHANGES, Case
from cases import (
    ACTIVATIONS,
    POSITIVE,
    activation,
    binary,
    binary_const,
    binary_map,
    conv,
    conv_transpose,
    layer_norm,
    lrn,
    pad,
    pad_like,
    pool,
    resize,
    resize_like,
    separable_conv,
    with_addend,
)
from hypothesis import strategies as st


@st.composite
def random_case(draw: st.DrawFn, op: str) -> Case:
    """A case of `op` with random shapes, attributes and activity, exact."""
    case = RANDOM[op](draw)
    channels = min(shape[1] for shape in case.shapes)
    return replace(
        case,
        change=draw(st.sampled_from(CHANGES)),
        through="view" if channels > 1 and case.op not in ("Enter", "MapShape") and draw(st.booleans()) else "",
        enter=draw(st.sampled_from(["planar", "planar", "channels_last"])),
        seed=draw(st.integers(0, 2**16)),
    )


def _shape(draw: st.DrawFn, low: int = 1, high: int = 14, multiple: int = 1) -> tuple[int, ...]:
    n = draw(st.sampled_from([1, 1, 1, 2]))
    c = draw(st.sampled_from([1, 2, 3, 4, 7, 8, 15, 16, 17, 33]))
    return n, c * multiple, draw(st.integers(low, high)), draw(st.integers(low, high * 2))


def _window(draw: st.DrawFn, auto: bool = True, padded: bool = True) -> dict[str, Any]:
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    pads = [draw(st.integers(0, kernel[i % 2] - 1)) if padded else 0 for i in range(4)]
    mode = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])) if auto else "NOTSET"
    return {
        "kernel": kernel,
        "strides": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "pads": tuple(pads) if mode == "NOTSET" else (0, 0, 0, 0),
        "dilations": (1, 1) if mode.startswith("SAME") else (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        "auto_pad": mode,
    }


def _activation(draw: st.DrawFn) -> dict[str, Any]:
    """Behind a sum, where rounding must not decide: not Sign, which jumps at zero."""
    return draw(st.sampled_from([a for a in ACTIVATIONS if a["activation"] not in (*POSITIVE, "Exp", "Sign")]))


def _conv(draw: st.DrawFn) -> Case:
    group = draw(st.sampled_from([1, 1, 2, 3]))
    shape = _shape(draw, 8, multiple=group)
    if draw(st.booleans()) and group > 1:
        group = shape[1]
    m = group * draw(st.sampled_from([1, 2, 5, 16, 20] if group < 4 else [1, 2]))
    return conv(shape, m, group=group, activation=_activation(draw), **_window(draw))


def _separable_conv(draw: st.DrawFn) -> Case:
    shape = _shape(draw, 8, multiple=2)
    m = draw(st.sampled_from([1, 3, 8, 20]))
    return separable_conv(shape, m, inner=_activation(draw), activation=_activation(draw), **_window(draw))


def _with_addend(make: Callable[[st.DrawFn], Case]) -> Callable[[st.DrawFn], Case]:
    return lambda draw: with_addend(make(draw))


def _conv_transpose(draw: st.DrawFn) -> Case:
    group = draw(st.sampled_from([1, 1, 2]))
    window = _window(draw, auto=False)
    del window["auto_pad"]
    extra = tuple(draw(st.integers(0, s - 1)) for s in window["strides"])
    m = group * draw(st.sampled_from([1, 3, 8]))
    return conv_transpose(
        _shape(draw, 4, 9, group), m, group=group, activation=_activation(draw), output_padding=extra, **window
    )


def _pool(op: str) -> Callable[[st.DrawFn], Case]:
    def make(draw: st.DrawFn) -> Case:
        window = _window(draw)
        if window["auto_pad"].startswith("SAME"):  # onnxruntime's pools refuse gaps between windows here
            window["strides"] = tuple(map(min, window["strides"], window["kernel"]))
        if op == "AveragePool":
            window["count_include_pad"] = draw(st.integers(0, 1))
        ceil = draw(st.integers(0, 1)) if window["auto_pad"] == "NOTSET" else 0
        return pool(op, _shape(draw, 8), ceil_mode=ceil, **window)

    return make


def _binary(draw: st.DrawFn) -> Case:
    n, c, h, w = _shape(draw)
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"]))
    other = draw(st.sampled_from([(n, c, h, w), (n, c, 1, 1), (n, 1, h, w), (n, 1, 1, 1)]))
    pair = [(n, c, h, w), other]
    if draw(st.booleans()):
        pair.reverse()
    return binary(op, *pair, _activation(draw))


def _binary_const(draw: st.DrawFn) -> Case:
    shape = _shape(draw)
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"]))
    if op in ("Add", "Sub", "Mul") and draw(st.booleans()):
        return binary_map(op, shape, draw(st.sampled_from([1, shape[1]])), _activation(draw))
    return binary_const(op, shape, draw(st.sampled_from([1, shape[1]])), draw(st.integers(0, 1)), _activation(draw))


def _activation_case(draw: st.DrawFn) -> Case:
    shape = _shape(draw)
    if draw(st.integers(0, 4)) == 0:
        return Case("Activation", (shape,), activation("PRelu", *np.linspace(-1, 1, shape[1]).tolist()))
    return Case("Activation", (shape,), activation("Sign") if draw(st.integers(0, 15)) == 0 else _activation(draw))


def _concat(draw: st.DrawFn) -> Case:
    n, _, h, w = _shape(draw)
    channels = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    return Case("Concat", tuple((n, c, h, w) for c in channels))


def _slice(draw: st.DrawFn) -> Case:
    shape = _shape(draw)
    start = draw(st.integers(0, shape[1] - 1))
    return Case("Slice", (shape,), {"start": start, "end": draw(st.integers(start + 1, shape[1]))})


def _ranges(draw: st.DrawFn) -> Case:
    n, _, h, w = _shape(draw)
    channels = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    sources = draw(st.lists(st.integers(0, len(channels) - 1), min_size=1, max_size=5))
    starts = [draw(st.integers(0, channels[i] - 1)) for i in sources]
    ends = [draw(st.integers(start + 1, channels[i])) for i, start in zip(sources, starts, strict=True)]
    shapes = tuple((n, c, h, w) for c in channels)
    return Case("ChannelRanges", shapes, {"sources": sources, "starts": starts, "ends": ends})


def _gather(draw: st.DrawFn) -> Case:
    shape = _shape(draw)
    indices = draw(st.lists(st.integers(0, shape[1] - 1), min_size=1, max_size=20))
    return Case("ChannelGather", (shape,), {"indices": indices})


def _softmax(draw: st.DrawFn) -> Case:
    return Case("Softmax", (_shape(draw),), {"log": draw(st.integers(0, 1))})


def _layer_norm(draw: st.DrawFn) -> Case:
    """A large epsilon: where the channels of a site happen to be all but equal, rounding would decide."""
    return layer_norm(_shape(draw), draw(st.sampled_from([0.01, 1.0])))


def _lrn(draw: st.DrawFn) -> Case:
    """Windows of an odd number of channels: onnxruntime has no others."""
    size, beta = draw(st.sampled_from([1, 3, 5, 11])), draw(st.sampled_from([0.5, 0.75, 1.3]))
    return lrn(_shape(draw), size, beta, draw(st.sampled_from([1.0, 2.0])))


def _arg_max(draw: st.DrawFn) -> Case:
    return Case("ArgMax", (_shape(draw),), {"last": draw(st.integers(0, 1))})


def _channel_reduce(draw: st.DrawFn) -> Case:
    return Case("ChannelReduce", (_shape(draw),), {"reduction": draw(st.sampled_from(["Mean", "Sum", "L2", "Max"]))})


def _resize(draw: st.DrawFn) -> Case:
    mode = draw(st.sampled_from(["nearest", "linear"]))
    transform = draw(st.sampled_from(["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"]))
    nearest = draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    shape = _shape(draw, 2)
    if draw(st.booleans()):
        return resize(shape, mode, transform, nearest, sizes=(draw(st.integers(1, 30)), draw(st.integers(1, 30))))
    scale = st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 4.0])
    return resize(shape, mode, transform, nearest, scales=(draw(scale), draw(scale)))


def _resize_like(draw: st.DrawFn) -> Case:
    size = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    mode = draw(st.sampled_from(["nearest", "linear"]))
    transform = draw(st.sampled_from(["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"]))
    return resize_like(_shape(draw, 2), size, mode, transform)


def _space_to_depth(draw: st.DrawFn) -> Case:
    b = draw(st.integers(1, 3))
    n, c, h, w = _shape(draw, 1, 6)
    return Case("SpaceToDepth", ((n, c, h * b, w * b),), {"blocksize": b})


def _depth_to_space(draw: st.DrawFn) -> Case:
    b = draw(st.integers(1, 3))
    mode = draw(st.sampled_from(["DCR", "CRD"]))
    return Case("DepthToSpace", (_shape(draw, 1, 8, b * b),), {"blocksize": b, "mode": mode})


def _pad(draw: st.DrawFn) -> Case:
    mode = draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    least = -2 if mode in ("constant", "edge") else 0
    pads = tuple(draw(st.integers(least, 4)) for _ in range(4))
    return pad(_shape(draw, 5), pads, mode, draw(st.sampled_from([0.0, 2.5])))


def _pad_like(draw: st.DrawFn) -> Case:
    size = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    return pad_like(_shape(draw), size, draw(st.sampled_from([0.0, 2.5])))


RANDOM: dict[str, Callable[[st.DrawFn], Case]] = {
    "Enter": lambda draw: Case("Enter", (_shape(draw),), data=draw(st.sampled_from(["normal", "uint8"]))),
    "Exit": lambda draw: Case("Exit", (_shape(draw),)),
    "MapShape": lambda draw: Case("MapShape", (_shape(draw),)),
    "Conv": _conv,
    "ConvAdd": _with_addend(_conv),
    "SeparableConv": _separable_conv,
    "SeparableConvAdd": _with_addend(_separable_conv),
    "ConvTranspose": _conv_transpose,
    "Activation": _activation_case,
    "Binary": _binary,
    "BinaryConst": _binary_const,
    "Concat": _concat,
    "Slice": _slice,
    "ChannelRanges": _ranges,
    "ChannelGather": _gather,
    "MaxPool": _pool("MaxPool"),
    "AveragePool": _pool("AveragePool"),
    "GlobalAveragePool": lambda draw: Case("GlobalAveragePool", (_shape(draw),)),
    "GlobalMaxPool": lambda draw: Case("GlobalMaxPool", (_shape(draw),)),
    "Softmax": _softmax,
    "LayerNormalization": _layer_norm,
    "LRN": _lrn,
    "ArgMax": _arg_max,
    "ChannelReduce": _channel_reduce,
    "Resize": _resize,
    "ResizeLike": _resize_like,
    "SpaceToDepth": _space_to_depth,
    "DepthToSpace": _depth_to_space,
    "Pad": _pad,
    "PadLike": _pad_like,
}
