"""What the demo shows: a frame with the detected text, and beside it how often each place was worked on."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from rrm_onnx.video import Image

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1; the end is not part of it

SMALLEST = 40  # pixels; smaller spots of the map are no text
OUTLINE, CAPTION, PAPER = (255, 196, 64), (40, 44, 52), (255, 255, 255)
CAPTION_HEIGHT = 40
HEAT = np.array([(70, 90, 210), (190, 60, 130), (250, 150, 50), (255, 240, 170)], np.float32)
DIMMED = 0.3  # what never changed shows the frame at this brightness


class InputGate:
    """The definition of the gate behind the picture, in NumPy: which sites of each frame count as changed.

    A site's held values are replaced when the RMS over the channels of (new - held) exceeds threshold * scale; with
    threshold 0 when any value differs. scale 0 takes the RMS of the first frame.
    """

    def __init__(self, threshold: float, scale: float = 0.0) -> None:
        self.threshold, self.scale = threshold, scale
        self._held: Floats | None = None

    def changed(self, frame: Floats) -> Mask:
        """frame: float32 (H, W, C). Returns bool (H, W); all of the first frame."""
        if self._held is None:
            self._held = frame.copy()
            self.scale = self.scale or float(np.sqrt(np.mean(np.square(frame, dtype=np.float64))))
            return np.ones(frame.shape[:2], bool)
        difference = frame - self._held
        limit = np.float32(self.threshold) * np.float32(self.scale)
        squares = np.square(difference).sum(-1)
        moved: Mask = squares > limit * limit * frame.shape[2] if limit > 0 else (difference != 0).any(-1)
        self._held[moved] = frame[moved]
        return moved


def share_changed(frames: Iterable[Floats], gate: InputGate) -> Floats:
    """(H, W): in which share of the frames after the first a site passed the gate."""
    maps = [gate.changed(frame) for frame in frames][1:]
    share: Floats = np.mean(maps, axis=0, dtype=np.float32)
    return share


def boxes(mask: Mask) -> list[Box]:
    """Bounding boxes of the connected parts (neighbours left, right, above, below) of `mask`, top to bottom."""
    parent: list[int] = []
    extent: list[list[int]] = []
    above: list[tuple[int, int, int]] = []  # runs of the row before: start, end, label

    def root(label: int) -> int:
        while parent[label] != label:
            label = parent[label]
        return label

    for y, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
        runs = []
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            label = len(parent)
            parent.append(label)
            extent.append([start, y, end, y + 1, end - start])
            for other_start, other_end, other in above:
                if other_start < end and start < other_end:
                    parent[root(other)] = label
            runs.append((start, end, label))
        above = runs
    merged: dict[int, list[int]] = {}
    for label, (x0, y0, x1, y1, size) in enumerate(extent):
        m = merged.setdefault(root(label), [x0, y0, x1, y1, 0])
        m[:] = [min(m[0], x0), min(m[1], y0), max(m[2], x1), max(m[3], y1), m[4] + size]
    found = [(m[0], m[1], m[2], m[3]) for m in merged.values() if m[4] >= SMALLEST]
    return sorted(found, key=lambda box: (box[1], box[0]))


def grown(box: Box) -> Box:
    """The network marks the core of a text only: the box moves outwards by 1.5 * area / circumference, as the authors
    of the network undo it (Liao et al., Real-time Scene Text Detection with Differentiable Binarization, 2020)."""
    x0, y0, x1, y1 = box
    by = round(1.5 * (x1 - x0) * (y1 - y0) / (2 * (x1 - x0 + y1 - y0)))
    return x0 - by, y0 - by, x1 + by, y1 + by


def heat(share: Floats, frame: Image) -> Image:
    """uint8 (H, W, 3): blue for changed once to white for in every frame (on a square-root scale), else `frame`, dim.

    share: (H, W) in 0..1; frame: uint8 (H, W, 3).
    """
    place = np.sqrt(np.clip(share, 0, 1)) * (len(HEAT) - 1)
    low = np.minimum(place.astype(np.int64), len(HEAT) - 2)
    part = (place - low)[..., None]
    colours = np.where(share[..., None] > 0, HEAT[low] * (1 - part) + HEAT[low + 1] * part, DIMMED * frame)
    pixels: Image = colours.round().astype(np.uint8)
    return pixels


def draw(path: pathlib.Path, frame: Image, found: list[Box], share: Floats, captions: tuple[str, str]) -> None:
    """Writes a PNG: `frame` (uint8 (H, W, 3) RGB) with the boxes, and the heat map of `share` beside it."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    height, width = frame.shape[:2]
    sheet = Pillow.new("RGB", (2 * width + 8, height + CAPTION_HEIGHT), PAPER)
    sheet.paste(Pillow.fromarray(frame), (0, CAPTION_HEIGHT))
    sheet.paste(Pillow.fromarray(heat(share, frame)), (width + 8, CAPTION_HEIGHT))
    pen = ImageDraw.Draw(sheet)
    for x0, y0, x1, y1 in map(grown, found):
        top, bottom = max(0, y0) + CAPTION_HEIGHT, min(height, y1) + CAPTION_HEIGHT
        pen.rectangle((max(0, x0), top, min(width, x1) - 1, bottom - 1), outline=OUTLINE, width=2)
    font = ImageFont.load_default(max(12, min(20, width // 48)))
    for x, caption in zip((8, width + 16), captions, strict=True):
        pen.text((x, 9), caption, font=font, fill=CAPTION)
    sheet.save(path)
