"""Videos that break off: the frames that are whole, one warning, and none for videos that only look short."""

from __future__ import annotations

import json
import os
import pathlib
import re
import struct
import threading

import numpy as np
import onnx
import pytest
from small import SIZE, cnn, write_clip

from rrm_onnx.cli import main
from rrm_onnx.decode import is_cut
from rrm_onnx.errors import ClipError
from rrm_onnx.video import ClipOptions, ImageInput, read_clip

av = pytest.importorskip("av")
COUNT = 12
TARGET = ImageInput("x", np.dtype(np.float32), "nchw", 1, 3, SIZE, SIZE)
KINDS = {
    "plain.mkv": ("ffv1", "bgr0", {}),
    "index_first.mp4": ("mpeg4", "yuv420p", {"movflags": "faststart"}),
    "fragments.mp4": ("mpeg4", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    "index_last.mp4": ("mpeg4", "yuv420p", {}),
    "plain.avi": ("mjpeg", "yuvj420p", {}),
}
READABLE = [name for name in KINDS if name != "index_last.mp4"]  # an MP4 file is nothing without its index


def noise() -> list[np.ndarray]:
    """Frames that do not compress, so that a share of the bytes is about that share of the frames."""
    return list(np.random.default_rng(0).integers(0, 255, (COUNT, SIZE, SIZE, 3), np.uint8))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a video of every kind."""
    folder = tmp_path_factory.mktemp("whole")
    for name, (codec, pixels, options) in KINDS.items():
        with av.open(str(folder / name), "w", options=options) as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, pixels
            for picture in noise():
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)))
            out.mux(stream.encode())
    return folder


def packets(path: pathlib.Path) -> list[tuple[int, int]]:
    """(position, size) of every packet of a video."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def cut(path: pathlib.Path, folder: pathlib.Path, size: int) -> pathlib.Path:
    """A copy that breaks off after so many bytes."""
    copy = folder / path.name
    copy.write_bytes(path.read_bytes()[:size])
    return copy


@pytest.mark.parametrize("name", KINDS)
def test_whole_videos_give_no_warning(whole, name):
    clip = read_clip(whole / name, TARGET)
    assert len(clip) == COUNT and clip.warnings == () and not is_cut(whole / name)


@pytest.mark.parametrize("count", [1, 5, COUNT - 1])
@pytest.mark.parametrize("name", READABLE)
def test_cut_videos_give_their_whole_frames_and_a_warning(whole, tmp_path, name, count):
    position, size = packets(whole / name)[count]
    path = cut(whole / name, tmp_path, position + size // 2)
    clip = read_clip(path, TARGET)
    assert len(clip) == count
    for got, want in zip(clip.images, read_clip(whole / name, TARGET).images, strict=False):
        assert np.array_equal(got, want)  # no picture that a decoder made up
    (warning,) = clip.warnings
    assert re.fullmatch(rf"{re.escape(str(path))}: breaks off .*{count} frames? could be read", warning)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.04, 0.1, 0.5, 1])
def test_cut_before_the_first_frame_ends(whole, tmp_path, name, share):
    position, size = packets(whole / name)[0]
    with pytest.raises(ClipError, match=r"no frame of it|does not decode") as caught:
        read_clip(cut(whole / name, tmp_path, int(share * (position + size - 1))), TARGET)
    assert "\n" not in caught.value.message and "not complete" in (caught.value.hint or "")


def test_without_its_index_an_mp4_file_is_not_complete(whole, tmp_path):
    with pytest.raises(ClipError, match="does not decode") as caught:
        read_clip(cut(whole / "index_last.mp4", tmp_path, packets(whole / "index_last.mp4")[-1][0]), TARGET)
    assert "not complete" in (caught.value.hint or "")


def test_damage_in_the_middle_ends_the_clip_there(whole, tmp_path):
    """An error of the decoder after some frames."""
    content = bytearray((whole / "plain.avi").read_bytes())
    position, size = packets(whole / "plain.avi")[4]
    content[position + 8 : position + size] = bytes(size - 8)
    path = tmp_path / "damaged.avi"
    path.write_bytes(content)
    clip = read_clip(path, TARGET)
    assert len(clip) == 4 and len(clip.warnings) == 1 and "4 frames could be read" in clip.warnings[0]


def test_no_warning_for_frames_that_nobody_asked_for(whole, tmp_path):
    clip = read_clip(
        cut(whole / "plain.mkv", tmp_path, packets(whole / "plain.mkv")[5][0]), TARGET, ClipOptions(frames=2)
    )
    assert len(clip) == 2 and clip.warnings == ()


def test_trimmed_videos_are_whole(whole, tmp_path):
    """An edit list shows a part of what the file holds and counts."""
    content = bytearray((whole / "index_first.mp4").read_bytes())
    at = content.find(b"elst")
    struct.pack_into(">Ii", content, at + 12, 500, 2048)  # half a second, from the third frame on
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(content)
    clip = read_clip(path, TARGET)
    assert 0 < len(clip) < COUNT and clip.warnings == ()


def test_a_live_recording_names_no_size(whole, tmp_path):
    content = bytearray((whole / "plain.mkv").read_bytes())
    at = content.find(b"\x18\x53\x80\x67")
    content[at + 4 : at + 12] = b"\x01" + b"\xff" * 7
    path = tmp_path / "live.mkv"
    path.write_bytes(content[: len(content) // 2])
    clip = read_clip(path, TARGET)
    assert 3 < len(clip) < COUNT and clip.warnings == ()


def box(kind: bytes, size: int, content: bytes = b"") -> bytes:
    return struct.pack(">I", size) + kind + content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (box(b"ftyp", 16, bytes(8)) + box(b"mdat", 24, bytes(16)), False),
        (box(b"ftyp", 16, bytes(8)) + box(b"mdat", 24, bytes(15)), True),
        (box(b"ftyp", 16, bytes(8)) + box(b"mdat", 1, struct.pack(">Q", 24) + bytes(8)), False),
        (box(b"ftyp", 16, bytes(8)) + box(b"mdat", 1, struct.pack(">Q", 1 << 40) + bytes(8)), True),
        (box(b"ftyp", 16, bytes(8)) + box(b"mdat", 0, b"\xff" * 99), False),  # up to the end
        (
            b"RIFF" + struct.pack("<I", 12) + b"AVI " + bytes(8) + b"RIFF" + struct.pack("<I", 8) + b"AVIX" + bytes(3),
            True,
        ),
        (
            b"RIFF" + struct.pack("<I", 12) + b"AVI " + bytes(8) + b"RIFF" + struct.pack("<I", 8) + b"AVIX" + bytes(4),
            False,
        ),
        (b"RIFF" + struct.pack("<I", 12) + b"AVI " + bytes(8) + b"\0", False),
        (b"RIFF" + struct.pack("<I", 99) + b"WAVE", False),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x84" + bytes(4), False),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x84" + bytes(3), True),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + bytes(3), False),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67", False),
        (b"GIF89a", False),
        (b"", False),
    ],
)
def test_is_cut(tmp_path, content, expected):
    (tmp_path / "clip").write_bytes(content)
    assert is_cut(tmp_path / "clip") is expected


def test_a_pipe_is_left_alone(tmp_path):
    """What was looked at is gone from it."""
    os.mkfifo(tmp_path / "clip")
    looking = threading.Thread(target=is_cut, args=(tmp_path / "clip",), daemon=True)
    looking.start()
    looking.join(10)
    assert not looking.is_alive()  # opening it would wait for a writer


# --- what the user sees


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """model.onnx, and clip.mkv that breaks off after a part of its frames."""
    monkeypatch.chdir(tmp_path)
    onnx.save(cnn(), "model.onnx")
    whole = write_clip(tmp_path / "whole.mkv", noise())
    (tmp_path / "clip.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return tmp_path


@pytest.mark.parametrize("command", ["bench", "verify", "demo"])
def test_commands_go_on_and_warn(folder, library, capsys, command):
    models = ["--model", "model.onnx"] if command == "demo" else ["model.onnx", "model.rrm.onnx"]
    if command == "demo":
        pytest.importorskip("PIL")
    assert main(["convert", "model.onnx"]) == 0
    capsys.readouterr()
    assert main([command, *models, "--clip", "clip.mkv", "--json"]) == 0
    out, err = capsys.readouterr()
    frames = json.loads(out)["frames"]
    assert 3 < frames < COUNT
    assert f"warning: clip.mkv: breaks off in the middle, {frames} frames could be read\n" in err


def test_commands_end_where_nothing_can_be_read(folder, library, capsys):
    (folder / "clip.mkv").write_bytes((folder / "whole.mkv").read_bytes()[:700])
    assert main(["bench", "model.onnx", "--clip", "clip.mkv"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"error: clip.mkv: .+\n\nhint: it is not complete.+\n", err), err
