"""Networks whose outputs are maps: masks, key points, mattes."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from families.layers import Family, Layers, Sizes

OPEN: tuple[Sizes, ...] = ({"x": (1, 3, 32, 48)}, {"x": (2, 3, 48, 32)})
LINEAR = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}


def double(b: Layers, x: str, m: int) -> str:
    return b.layer(b.layer(x, m), m)


def u_shaped(b: Layers, bottom: int, grown: Callable[[str, int, str], str]) -> str:
    """grown(x, channels, skip): x at twice its size, to be joined with `skip`."""
    x = b.picture(shape=("n", 3, "h", "w"))
    skips = []
    for m in (8, 16):
        x = double(b, x, m)
        skips.append(x)
        x = b.max_pool(x)
    x = double(b, x, bottom)
    for m, skip in ((16, skips[1]), (8, skips[0])):
        x = double(b, b.joined(skip, grown(x, m, skip)), m)
    return x


def unet() -> onnx.ModelProto:
    b = Layers(13)
    x = u_shaped(b, 32, lambda x, m, skip: b.up(x, m))
    b.output(b.add("Sigmoid", b.cv(x, 1, 1)))
    return b.model()


def fitted(b: Layers, x: str, like: str) -> str:
    """Padded to the size of another map, computed with Shape, Sub and Div, as torch.nn.functional.pad is traced."""
    parts = []
    for axis in (2, 3):
        sizes = [b.add("Gather", b.add("Shape", t), b.const(axis, "int64"), axis=0) for t in (like, x)]
        missing = b.add("Sub", *sizes)
        before = b.add("Div", missing, b.const(2, "int64"))
        parts.append((b.lifted(before), b.lifted(b.add("Sub", missing, before))))
    (top, bottom), (left, right) = parts
    none = b.i64(0)
    pads = b.add("Concat", none, none, top, left, none, none, bottom, right, axis=0)
    return b.add("Pad", x, pads, b.const(0.0), mode="constant")


def unet_resized() -> onnx.ModelProto:
    """Maps enlarged by interpolation and padded to fit, both by computed sizes."""
    b = Layers(13)
    corners = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    x = u_shaped(b, 16, lambda x, m, skip: fitted(b, b.grow(x, **corners), skip))
    b.output(b.cv(x, 3, 1))
    return b.model()


def hrnet() -> onnx.ModelProto:
    b = Layers(11)
    x = b.layer(b.layer(b.picture(), 16, 3, 2), 16)
    maps = [x, b.layer(x, 32, 3, 2)]
    for _ in range(2):
        maps = [b.add("Relu", b.add("Add", t, b.layer(b.layer(t, b.channels[t]), b.channels[t], act=""))) for t in maps]
        high, low = maps
        up = b.grow(b.layer(low, 16, 1, act=""))
        down = b.layer(high, 32, 3, 2, "")
        maps = [b.add("Relu", b.add("Add", high, up)), b.add("Relu", b.add("Add", down, low))]
    b.output(b.cv(b.joined(maps[0], b.grow(maps[1], **LINEAR)), 5, 1))
    return b.model()


def openpose() -> onnx.ModelProto:
    """Stages that read the features and what the stage before found; Concat of two branches."""
    b = Layers(9)
    x = b.picture()
    for m in (8, 16):
        x = b.max_pool(b.add("Relu", b.cv(x, m)))
    features = b.add("Relu", b.cv(x, 16))
    x = features
    for stage in range(2):
        found = []
        for m in (6, 5):
            y = x
            for _ in range(2):
                y = b.act(b.cv(y, 16, 7 if stage else 3), "Elu" if stage else "Relu")
            found.append(b.cv(y, m, 1))
        x = b.joined(*found, features)
    for y in found:
        b.output(y)
    return b.model()


def deeplab() -> onnx.ModelProto:
    """Dilated windows, a branch over the whole picture, all joined and enlarged eightfold."""
    b = Layers(11)
    x = b.picture(shape=(1, 3, 64, 64))
    for m, stride in ((8, 2), (16, 2), (16, 2)):
        x = b.layer(x, m, 3, stride)
    x = b.layer(x, 24, dilations=[2, 2])
    branches = [b.layer(x, 12, 1)]
    for d in (2, 3):
        branches.append(b.layer(b.deep(x, dilations=[d, d]), 12, 1))
    pooled = b.layer(b.add("GlobalAveragePool", x), 12, 1)
    branches.append(b.sized(pooled, b.i64(1, 12, 8, 8), **LINEAR))
    b.channels[branches[-1]] = 12
    x = b.layer(b.layer(b.joined(*branches), 24, 1), 24)
    x = b.sized(b.cv(x, 4, 1), b.i64(1, 4, 64, 64), **LINEAR)
    b.output(b.add("ArgMax", x, axis=1, keepdims=0), kind=onnx.TensorProto.INT64)
    return b.model()


def fast_segmentation() -> onnx.ModelProto:
    """BiSeNet and PP-LiteSeg: attention from pooled maps, over the channels and over the places."""
    b = Layers(11)
    x = b.picture()
    low = b.layer(b.layer(x, 12, 3, 2), 24, 3, 2)
    high = b.layer(b.layer(low, 24, 3, 2), 24)
    high = b.add("Mul", high, b.add("Sigmoid", b.cv(b.add("GlobalAveragePool", high), 24, 1)))
    up = b.grow(high, mode="linear", coordinate_transformation_mode="half_pixel")
    means = [b.add(f"Reduce{k}", t, axes=[1], keepdims=1) for t in (up, low) for k in ("Mean", "Max")]
    b.channels.update(dict.fromkeys(means, 1))
    gate = b.add("Sigmoid", b.cv(b.layer(b.joined(*means), 2), 1))
    other = b.add("Sub", b.const(1.0), gate)
    x = b.add("Add", b.add("Mul", up, gate), b.add("Mul", low, other))
    b.channels[x] = 24
    b.output(b.grow(b.cv(b.layer(x, 24), 4, 1), 4, mode="linear", coordinate_transformation_mode="half_pixel"))
    return b.model()


def matting() -> onnx.ModelProto:
    """A recurrent network: states go in and come out, and each is read through a gate of convolutions."""
    b = Layers(12)
    x = b.layer(b.picture("src"), 16, 3, 2, "HardSwish" if b.opset > 13 else "hard-swish")
    low = b.layer(x, 24, 3, 2)
    outputs = []
    for i, t in ((2, low), (1, x)):
        if outputs:
            t = b.layer(b.joined(t, b.grow(outputs[-1], **LINEAR)), 16)
        half = b.channels[t] // 2
        size = 8 if i == 2 else 16
        state = b.picture(f"r{i}i", (1, half, size, size))
        kept, new = b.split(t, half, half)
        gates = b.add("Sigmoid", b.cv(b.joined(new, state), 2 * half))
        reset, update = b.split(gates, half, half)
        candidate = b.add("Tanh", b.cv(b.joined(new, b.add("Mul", reset, state)), half))
        rest = b.add("Mul", b.add("Sub", b.const(1.0), update), state)
        state = b.add("Add", rest, b.add("Mul", update, candidate), out=f"r{i}o")
        b.channels[state] = half
        outputs.append(b.joined(kept, state))
    y = b.cv(b.layer(b.joined(b.grow(outputs[-1], **LINEAR), "src"), 16), 4)
    colour, alpha = b.split(y, 3, 1)
    b.output(b.clip(b.add("Add", colour, "src"), 0, 1))
    b.output(b.clip(alpha, 0, 1))
    for i in (1, 2):
        b.output(f"r{i}o")
    return b.model()


SEGMENTERS = [
    Family("U-Net", unet, "skips over the whole network; all sizes left open", sizes=OPEN),
    Family(
        "U-Net, resized", unet_resized, "pads that are computed", sizes=({"x": (1, 3, 32, 48)}, {"x": (1, 3, 35, 46)})
    ),
    Family("HRNet", hrnet, "two resolutions that exchange sums"),
    Family("OpenPose", openpose, "stages that read what the one before found"),
    Family("DeepLab", deeplab, "dilated windows, a pooled branch enlarged, ArgMax"),
    Family("BiSeNet", fast_segmentation, "means and maxima over channels as a gate for places"),
    Family("Recurrent matting", matting, "states in and out, ConvGRU"),
]
