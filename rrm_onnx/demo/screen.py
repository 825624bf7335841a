"""A screen recording that is drawn, not filmed: an editor in which text is typed, the cursor blinks, the page scrolls.

Deterministic: the same frames in every run on one machine (the letters' shapes depend on Pillow's version).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rrm_onnx.video import Image

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

WIDTH, HEIGHT, LINE, MARGIN = 960, 544, 34, 84
FRAMES = 120
TYPING, BLINKING, SCROLLING = 0.6, 0.25, 0.15  # shares of the recording, in this order
BLINK = 8  # frames that the cursor is on, and off

BACKGROUND, TEXT, FAINT, BAR, CURSOR = (30, 32, 38), (214, 218, 224), (112, 118, 128), (48, 52, 62), (240, 190, 80)
PAGE = """\
# What changes between two frames
A camera that stands still sees the same wall
for hours. A screen shows the same page while
one letter is typed. A convolutional network
does not know that: it computes every pixel of
every layer again, thirty times in a second.

def changed(frame, held, threshold):
    difference = rms(frame - held, axis="channel")
    return difference > threshold

for frame in video:
    sites = changed(frame, held, threshold)
    held[sites] = frame[sites]
    output[reach(sites)] = layer(held, reach(sites))

# When it does not help
A camera that pans changes every pixel at once.
""".splitlines()
TYPED = 'print("only this line is new, letter by letter")'
VISIBLE = (HEIGHT - 2 * LINE) // LINE


def recording(frames: int = FRAMES) -> list[Image]:
    """`frames` pictures, uint8 (544, 960, 3) RGB. Typing comes first, then a blinking cursor, then a scroll."""
    typing = max(1, round(frames * TYPING))
    blinking = round(frames * BLINKING)
    fonts = _fonts()
    pictures = []
    for t in range(frames):
        letters = min(len(TYPED), 1 + t * len(TYPED) // typing)
        cursor = t < typing or (t - typing) // BLINK % 2 == 1
        scrolled = max(0, t - typing - blinking + 1)
        pictures.append(_picture(fonts, TYPED[:letters], cursor, scrolled))
    return pictures


def _fonts() -> tuple[ImageFont.ImageFont | ImageFont.FreeTypeFont, ImageFont.ImageFont | ImageFont.FreeTypeFont]:
    from PIL import ImageFont

    return ImageFont.load_default(22), ImageFont.load_default(16)  # the font that Pillow brings along


def _picture(fonts: tuple[object, ...], typed: str, cursor: bool, scrolled: int) -> Image:
    """The screen with `typed` in the last visible line, moved up by `scrolled` lines."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    picture = Pillow.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    lines = [*PAGE[: VISIBLE - 1], typed, *PAGE[VISIBLE - 1 :], *PAGE]
    for row in range(VISIBLE):
        number = row + scrolled
        y = LINE + row * LINE
        _text(draw, (24, y + 5), f"{number + 1:3d}", fonts[1], FAINT)
        _text(draw, (MARGIN, y), lines[number % len(lines)], fonts[0], TEXT)
        if number == VISIBLE - 1 and cursor:
            x = MARGIN + draw.textlength(typed, font=fonts[0]) + 3  # type: ignore[arg-type]
            draw.rectangle((x, y + 2, x + 2, y + 26), fill=CURSOR)
    draw.rectangle((0, 0, WIDTH, LINE - 6), fill=BAR)
    _text(draw, (16, 4), "notes.md - Editor", fonts[1], TEXT)
    draw.rectangle((0, HEIGHT - LINE + 6, WIDTH, HEIGHT), fill=BAR)
    _text(draw, (16, HEIGHT - LINE + 9), f"Line {VISIBLE}, Column {len(typed) + 1}", fonts[1], TEXT)
    return np.asarray(picture).copy()


def _text(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, font: object, colour: tuple[int, ...]) -> None:
    draw.text(at, text, font=font, fill=colour)  # type: ignore[arg-type]
