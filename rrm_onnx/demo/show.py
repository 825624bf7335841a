"""The demo from end to end: recording, network, conversion, comparison, picture. It returns what there is to say."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from rrm_onnx import bench, pipeline, video, yardstick
from rrm_onnx.demo import picture, screen
from rrm_onnx.demo.model import INSTALL, MODEL, TEXT
from rrm_onnx.errors import RrmError
from rrm_onnx.pack import nodes_of
from rrm_onnx.types import Options
from rrm_onnx.verify import EXACT_RTOL

TOLERANCE = 0.02
AGREEMENT = 0.95  # the least mean IoU of the detected text that the demo accepts


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the demo found. agreement: mean IoU of the text found by original and converted model, over the frames
    after the first; None for a network that is no text detection. warnings: those of the clip."""

    result: bench.Result
    tolerance: float
    agreement: float | None
    regions: int
    picture: pathlib.Path
    converted: pathlib.Path
    warnings: tuple[str, ...] = ()

    @property
    def failure(self) -> str | None:
        if self.tolerance == 0 and not self.result.worst_error <= EXACT_RTOL:
            return f"exact, but the error is {self.result.worst_error:.2g} in one frame"
        if self.agreement is not None and not self.agreement >= AGREEMENT:
            return f"the detected text agrees to {self.agreement:.3f}, expected is {AGREEMENT} or more"
        return None

    def to_dict(self) -> dict[str, Any]:
        return self.result.to_dict() | {
            "tolerance": self.tolerance,
            "agreement": self.agreement,
            "regions": self.regions,
            "picture": str(self.picture),
            "converted": str(self.converted),
            "ok": self.failure is None,
        }


class Agreement:
    """Reads the first output as a probability map of text, and compares two of them by the IoU of what exceeds 0.3."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.maps: dict[int, picture.Mask] = {}
        self.applies = True

    def add(self, t: int, want: list[yardstick.Array], got: list[yardstick.Array]) -> None:
        self.applies = self.applies and _is_map(want[0])
        if not self.applies:
            return
        a, b = want[0][0, 0] > TEXT, got[0][0, 0] > TEXT
        self.maps[t] = b
        if t:
            both, either = int((a & b).sum()), int((a | b).sum())
            self.values.append(both / either if either else 1.0)

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.values)) if self.applies and self.values else None


def _is_map(output: yardstick.Array) -> bool:
    return output.ndim == 4 and output.shape[1] == 1 and float(output.min()) >= 0 and float(output.max()) <= 1


def show(
    model_path: pathlib.Path,
    clip: str | None,
    reading: video.ClipOptions,
    tolerance: float,
    folder: pathlib.Path,
    write: Callable[[pathlib.Path, bytes], None],
    step: Callable[[int], None],
    threads: int = 2,
) -> Shown:
    """Runs the demo. clip None: the drawn recording. write: how the converted model is written. step: frames done."""
    require_pillow()
    model = yardstick.load(model_path)
    converted = pipeline.run(model, Options(tolerance=tolerance)).model
    frames = frames_of(clip, video.image_input(model), reading)
    agreement = Agreement()

    def on_frame(t: int, want: list[yardstick.Array], got: list[yardstick.Array]) -> None:
        agreement.add(t, want, got)
        step(t + 1)

    result = bench.compare(model, converted, frames.feeds(), threads=threads, on_frame=on_frame)
    at = min(len(frames) - 1, max(1, round(len(frames) * screen.TYPING)))
    found = picture.boxes(agreement.maps[at]) if agreement.applies else []
    stem = model_path.name.removesuffix(".onnx")
    paths = folder / f"{stem}.demo.png", folder / f"{stem}.rrm.onnx"
    write(paths[1], converted.SerializeToString())
    shown = f"frame {at}: {len(found)} texts found" if agreement.applies else f"frame {at}"
    captions = shown, f"frames 1 to {at}: changed (blue: once, white: always)"
    until = (_channels_last(frames.feed(t), frames) for t in range(at + 1))
    share = picture.share_changed(until, input_gate(converted))
    picture.draw(paths[0], _rgb(frames.images[at], reading), found, share, captions)
    return Shown(result, tolerance, agreement.mean, len(found), *paths, frames.warnings)


def frames_of(clip: str | None, target: video.ImageInput, reading: video.ClipOptions) -> video.Clip:
    """The clip, or the drawn recording resized to what the network takes."""
    if clip is not None:
        return video.read_clip(clip, target, reading)
    size = reading.size or (target.width or screen.WIDTH, target.height or screen.HEIGHT)
    return video.from_images(screen.recording(reading.frames or screen.FRAMES), size, target, reading)


def input_gate(converted: onnx.ModelProto) -> picture.InputGate:
    """The gate of the converted model's first Enter node."""
    enter = next((n for n in nodes_of(converted) if n.domain == "rrm" and n.op_type.startswith("Enter")), None)
    values = {a.name: a.f for a in enter.attribute} if enter else {}
    return picture.InputGate(values.get("threshold", 0.0), values.get("scale", 0.0))


def require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise RrmError("the demo draws with Pillow, which is not installed", hint=INSTALL) from None


def _channels_last(feed: video.Feed, frames: video.Clip) -> picture.Floats:
    x: picture.Floats = feed[frames.target.name][0].astype(np.float32)
    return x.transpose(1, 2, 0) if frames.target.layout == "nchw" else x


def _rgb(image: video.Image, reading: video.ClipOptions) -> video.Image:
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return np.ascontiguousarray(image[:, :, ::-1]) if reading.order == "bgr" else image


__all__ = ["MODEL", "Shown", "show"]
