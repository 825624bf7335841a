"""Clips as decoded frames: a video, a GIF, an image, a folder of images or an image glob.

A video that breaks off (a copy or a recording that was not finished) gives the frames that it holds whole, and one
sentence about it. Decoders pass over that in silence, so the container is asked whether the file should be longer.
"""

from __future__ import annotations

import glob
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from rrm_onnx.errors import ClipError

if TYPE_CHECKING:
    import av

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
KINDS = "give a video, a GIF, a folder of images or a quoted glob"
MISSING_AV = 'pip install "rrm_onnx[video]"'

Warn = Callable[[str], None]


def frames(clip: str, warn: Warn) -> Iterator[av.VideoFrame]:
    """All frames in order. `warn` gets a sentence for each file that breaks off; ClipError where none can be read."""
    for file in files_of(clip):
        yield from decode(file, warn)


def files_of(clip: str) -> list[pathlib.Path]:
    """The files of a clip in natural order: 2 before 10."""
    path = pathlib.Path(clip)
    if path.is_dir():
        files = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            raise ClipError(f"{clip}: no images in this folder", hint=f"known are {', '.join(sorted(IMAGE_SUFFIXES))}")
    elif path.exists():
        files = [path]
    elif any(c in clip for c in "*?["):
        files = [pathlib.Path(p) for p in glob.glob(clip, recursive=True)]
        if not files:
            raise ClipError(f"{clip}: no file matches", hint="quote the pattern, so that the shell leaves it alone")
    else:
        raise ClipError(f"{clip}: no such file or folder", hint=KINDS)
    return sorted(files, key=_natural)


def _natural(path: pathlib.Path) -> list[tuple[int, str]]:
    """Sort key that puts frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path)) if part]


def decode(file: pathlib.Path, warn: Warn) -> Iterator[av.VideoFrame]:
    """The frames of one file."""
    try:
        import av
    except ImportError:
        raise ClipError(f"{file}: reading clips needs PyAV, which is not installed", hint=MISSING_AV) from None
    count, cut, reason = 0, False, ""
    try:
        cut = is_cut(file)
        with av.open(str(file)) as container:
            if not container.streams.video and not cut:
                raise ClipError(f"{file}: holds no pictures", hint=KINDS)
            for stream in container.streams.video[:1]:
                for frame in _decoded(container, stream, cut):
                    count += 1
                    yield frame
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if not count:
        what = f"does not decode as a video or image: {reason}" if reason else "no frame of it can be read"
        broken, odd = "it is not complete: copy or record it again", "check that the file opens in a video player"
        raise ClipError(f"{file}: {what}", hint=broken if cut else odd)
    if cut or reason:
        why = f" ({reason})" if reason else ""
        warn(f"{file}: breaks off in the middle{why}, {count} frame{'s' * (count > 1)} could be read")


def _decoded(container: av.container.InputContainer, stream: av.VideoStream, cut: bool) -> Iterator[av.VideoFrame]:
    """Frames of a stream. The last packet of a cut file lacks its end and is left out: a decoder would make up the
    rest of its picture."""
    stream.thread_type = "AUTO"
    for packet in container.demux(stream):
        if cut and packet.is_corrupt:
            yield from stream.decode(None)  # what its threads hold
            return
        yield from packet.decode()


def is_cut(file: pathlib.Path) -> bool:
    """Whether the outermost elements of an MP4, AVI or Matroska file reach beyond its end; False for anything else.

    Nothing else tells for sure: counts and durations in a header differ from what is shown in a whole file, too (edit
    lists, sound that is longer than the picture, frames that stand for long).
    """
    if not file.is_file():  # a pipe can be read once only
        return False
    size = file.stat().st_size
    with file.open("rb") as content:
        start = content.read(12)
        if start[4:8] in (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"wide"):
            return _boxes_end(content, size) > size
        if start[:4] == b"RIFF" and start[8:] == b"AVI ":
            return _chunks_end(content, size) > size
        if start[:4] == b"\x1a\x45\xdf\xa3":
            return _segment_end(content) > size
    return False


def _boxes_end(content: BinaryIO, size: int) -> int:
    """Where the last box of an MP4 file ends: size (32 bits; 1: 64 bits follow the type; 0: up to the end), type."""
    at = 0
    while at + 8 <= size:
        content.seek(at)
        head = content.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return size
        at += length
    return at


def _chunks_end(content: BinaryIO, size: int) -> int:
    """Where the last RIFF chunk of an AVI file ends (a long file has several)."""
    at = 0
    while at + 8 <= size:
        content.seek(at)
        head = content.read(8)
        if head[:4] != b"RIFF":
            return size  # what stands behind the last chunk is none of ours
        at += 8 + int.from_bytes(head[4:], "little")
    return at


def _segment_end(content: BinaryIO) -> int:
    """Where the Segment of a Matroska file ends; 0 where its size is unknown, as in live recordings."""
    content.seek(0)
    head = content.read(4096)
    at = head.find(b"\x18\x53\x80\x67") + 4
    if at < 4 or at >= len(head):
        return 0
    digits = 9 - head[at].bit_length()  # the leading zeros of the first byte count the bytes that follow
    bits = (1 << 7 * digits) - 1
    length = int.from_bytes(head[at : at + digits], "big") & bits
    return 0 if length == bits else at + digits + length
