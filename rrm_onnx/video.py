"""Clips as network inputs: a video, a GIF, a folder of images or an image glob becomes one feed per frame.

`image_input` reads from the model what it fixes (name, dtype, layout, channels, size), `read_clip` decodes the frames
once, and `Clip.feed` prepares one of them as x = (pixel - mean) / std with pixels 0..255.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import onnx

from rrm_onnx.decode import frames
from rrm_onnx.errors import ClipError

MULTIPLE = 32  # networks with a free picture size halve it up to five times

Image = np.ndarray[Any, np.dtype[np.uint8]]
Feed = dict[str, np.ndarray[Any, np.dtype[Any]]]


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """A model's picture input. `channels`, `height` and `width` are None where the model leaves them open."""

    name: str
    dtype: np.dtype[Any]
    layout: Literal["nchw", "nhwc"]
    batch: int
    channels: int | None
    height: int | None
    width: int | None


@dataclasses.dataclass(frozen=True)
class ClipOptions:
    """Which frames are read and how pixels become numbers.

    frames: None reads all from `start` on. size: (width, height); None takes the model's, or for a model of free size
    the clip's own, rounded to a multiple of 32. order: "rgb", "bgr" or "gray"; None means gray for a model with one
    channel, else rgb. mean, std: one or three numbers, in the order of the channels.
    """

    start: int = 0
    frames: int | None = None
    size: tuple[int, int] | None = None
    order: Literal["rgb", "bgr", "gray"] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


class Clip:
    """Decoded frames, uint8 (H, W, C) in the order of the network's channels, and the way from a frame to a feed.

    warnings: what the reader of the results has to know, one sentence each (a video that breaks off).
    """

    def __init__(
        self, images: list[Image], target: ImageInput, options: ClipOptions, warnings: Sequence[str] = ()
    ) -> None:
        self.images, self.target, self.warnings = images, target, tuple(warnings)
        self._mean = np.asarray(options.mean, np.float32)
        self._std = np.asarray(options.std, np.float32)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the frames."""
        height, width = self.images[0].shape[:2]
        return width, height

    def feed(self, t: int) -> Feed:
        """Frame `t` as the model's input; a model with a fixed batch gets the frame in every row."""
        return self.prepare(self.images[t])

    def feeds(self) -> Iterator[Feed]:
        """All frames, one after the other."""
        return (self.feed(t) for t in range(len(self)))

    def prepare(self, image: Image) -> Feed:
        """Any picture of the clip's size, uint8 (H, W, C), as the model's input."""
        x: np.ndarray[Any, np.dtype[Any]] = image
        if self.target.dtype != np.uint8:
            x = ((image.astype(np.float32) - self._mean) / self._std).astype(self.target.dtype)
        if self.target.layout == "nchw":
            x = x.transpose(2, 0, 1)
        return {self.target.name: np.repeat(x[None], self.target.batch, axis=0)}


def image_input(model: onnx.ModelProto) -> ImageInput:
    """The one input of `model` that takes a picture: rank 4, (N, C, H, W) or (N, H, W, C), float or uint8.

    Raises ClipError when there is none, or when the model needs further inputs that a clip cannot give.
    """
    held = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in held]
    ranked = [i for i in inputs if len(i.type.tensor_type.shape.dim) == 4]
    if not ranked:
        raise ClipError("the model has no input of rank 4 that could take a picture")
    others = [i.name for i in inputs if i is not ranked[0]]
    if others:
        raise ClipError(
            f"the model needs more than a picture: {', '.join(map(repr, others))}",
            hint="feed it from Python: rrm_onnx.verify(model, converted, feeds, rtol=...)",
        )
    kind = ranked[0].type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype != np.uint8 and dtype.kind != "f":
        raise ClipError(f"input {ranked[0].name!r} takes {dtype}, pictures are given as float or uint8")
    dims = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim]
    layout: Literal["nchw", "nhwc"] = "nhwc" if dims[3] in (1, 3) and dims[1] not in (1, 3) else "nchw"
    channels, height, width = (dims[1], dims[2], dims[3]) if layout == "nchw" else (dims[3], dims[1], dims[2])
    if channels not in (None, 1, 3):
        raise ClipError(f"input {ranked[0].name!r} has {channels} channels, a picture has 1 or 3")
    return ImageInput(ranked[0].name, dtype, layout, dims[0] or 1, channels, height, width)


def read_clip(
    clip: str | os.PathLike[str],
    target: ImageInput,
    options: ClipOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> Clip:
    """Decodes the frames of `clip` that `options` names, resized (bilinear) for `target`.

    clip: a video file, a GIF, a folder of images or an image glob (both in natural order: 2 before 10).
    progress: called with the number of frames read so far. Raises ClipError with the reason and a hint.
    """
    options = options or ClipOptions()
    images: list[Image] = []
    warnings: list[str] = []
    for picture in pictures(clip, target, options, warnings.append):
        images.append(picture)
        if progress:
            progress(len(images))
    return Clip(images, target, options, warnings)


def feeds(
    clip: str | os.PathLike[str],
    target: ImageInput,
    options: ClipOptions | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> Iterator[Feed]:
    """The frames of `read_clip` as the model's inputs, one at a time: long clips need no more memory than short ones.

    warn: called with each sentence that the reader of the results has to know. Raises ClipError as `read_clip` does.
    """
    options = options or ClipOptions()
    empty = Clip([], target, options)
    return (empty.prepare(picture) for picture in pictures(clip, target, options, warn))


def pictures(
    clip: str | os.PathLike[str], target: ImageInput, options: ClipOptions, warn: Callable[[str], None]
) -> Iterator[Image]:
    """The frames that `options` names, uint8 (H, W, C), resized (bilinear) for `target`."""
    order = _check(target, options)
    seen = given = 0
    size: tuple[int, int] | None = None
    for frame in frames(str(clip), warn):
        seen += 1
        if seen <= options.start:
            continue
        size = size or _size(target, options, frame.width, frame.height)
        picture = frame.reformat(*size, "gray" if order == "gray" else "rgb24", interpolation="BILINEAR").to_ndarray()
        picture = picture[:, :, None] if order == "gray" else picture[:, :, ::-1] if order == "bgr" else picture
        yield np.ascontiguousarray(picture)
        given += 1
        if given == options.frames:
            break
    if not given:
        raise ClipError(
            f"{clip}: no frame in the range, it has {seen} and reading starts at {options.start}",
            hint=f"choose --start below {seen}",
        )


def from_images(images: list[Image], size: tuple[int, int], target: ImageInput, options: ClipOptions) -> Clip:
    """Pictures of this program's own, uint8 (H, W, 3) RGB, resized to (width, height) = `size` as a clip would be."""
    from PIL import Image as Pillow

    order = _check(target, options)
    prepared: list[Image] = []
    for image in images:
        picture = Pillow.fromarray(image).convert("L" if order == "gray" else "RGB")
        if picture.size != size:
            picture = picture.resize(size, Pillow.Resampling.BILINEAR)
        pixels = np.asarray(picture).reshape(size[1], size[0], -1)
        prepared.append(np.ascontiguousarray(pixels[:, :, ::-1] if order == "bgr" else pixels))
    return Clip(prepared, target, options)


def _check(target: ImageInput, options: ClipOptions) -> Literal["rgb", "bgr", "gray"]:
    """The order of the channels, once the options fit each other and the model."""
    order = options.order or ("gray" if target.channels == 1 else "rgb")
    channels = 1 if order == "gray" else 3
    if target.channels not in (None, channels):
        raise ClipError(
            f"order {order} gives {channels} channel(s), input {target.name!r} takes {target.channels}",
            hint="use --order gray" if target.channels == 1 else "use --order rgb or --order bgr",
        )
    for name, numbers in (("mean", options.mean), ("std", options.std)):
        if len(numbers) not in (1, channels):
            wanted = "1" if channels == 1 else "1 or 3"
            raise ClipError(f"--{name} has {len(numbers)} numbers, order {order} takes {wanted}")
    if 0 in options.std:
        raise ClipError("--std is 0, pixels are divided by it")
    if target.dtype == np.uint8 and (any(options.mean) or set(options.std) != {1.0}):
        raise ClipError(
            f"input {target.name!r} takes uint8 pixels, --mean and --std do not apply",
            hint="leave --mean and --std out",
        )
    if options.start < 0 or (options.frames is not None and options.frames < 1):
        raise ClipError(f"no such range of frames: --start {options.start} --frames {options.frames}")
    return order


def _size(target: ImageInput, options: ClipOptions, width: int, height: int) -> tuple[int, int]:
    """(width, height) of the network's picture for a clip of width x height pixels."""
    if options.size:
        for given, fixed, axis in zip(options.size, (target.width, target.height), ("width", "height"), strict=True):
            if fixed not in (None, given):
                size = f"{target.width or 'W'}x{target.height or 'H'}"
                raise ClipError(
                    f"--size {options.size[0]}x{options.size[1]}: the model's {axis} is {fixed}",
                    hint=f"leave --size out, the model takes {size}",
                )
        return options.size
    rounded = [max(MULTIPLE, round(n / MULTIPLE) * MULTIPLE) for n in (width, height)]
    return target.width or rounded[0], target.height or rounded[1]
