"""Clips as network inputs: sizes, layouts, channel orders, ranges, and every clip that cannot be read."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rrm_onnx.errors import ClipError
from rrm_onnx.video import Clip, ClipOptions, ImageInput, image_input, read_clip

av = pytest.importorskip("av")
COUNT, WIDTH, HEIGHT = 12, 100, 70


def level(t: int) -> int:
    """Grey of frame t: far enough apart to survive the coding."""
    return 20 * t


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """clip.mkv (lossless), clip.gif and stills/frame<t>.png, t without leading zeros; frame t is grey level(t)."""
    path = tmp_path_factory.mktemp("clips")
    pictures = [np.full((HEIGHT, WIDTH, 3), level(t), np.uint8) for t in range(COUNT)]
    encode(path / "clip.mkv", "ffv1", "bgr0", pictures)
    encode(path / "clip.gif", "gif", "rgb8", pictures)
    (path / "stills").mkdir()
    for t, picture in enumerate(pictures):
        encode(path / "stills" / f"frame{t}.png", "png", "rgb24", [picture])
    return path


def encode(path: pathlib.Path, codec: str, pixels: str, pictures: list[np.ndarray]) -> None:
    options = {"format": "image2", "options": {"update": "1"}} if codec == "png" else {}
    with av.open(str(path), "w", **options) as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], pixels
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)))
        out.mux(stream.encode())


def model(shape: list[Any], dtype: int = TensorProto.FLOAT, **others: list[Any]) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(n, dtype, s) for n, s in ({"x": shape} | others).items()]
    return helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", inputs, []))


TARGET = ImageInput("x", np.dtype(np.float32), "nchw", 1, 3, 64, 96)


@pytest.mark.parametrize(
    ("shape", "layout", "batch", "channels", "height", "width"),
    [
        ([1, 3, 64, 96], "nchw", 1, 3, 64, 96),
        ([1, 64, 96, 3], "nhwc", 1, 3, 64, 96),
        (["N", 1, "H", "W"], "nchw", 1, 1, None, None),
        (["N", "H", "W", 1], "nhwc", 1, 1, None, None),
        ([2, "C", "H", "W"], "nchw", 2, None, None, None),
        ([1, 3, 640, "W"], "nchw", 1, 3, 640, None),
    ],
)
def test_input_is_read_from_the_model(shape, layout, batch, channels, height, width):
    assert image_input(model(shape)) == ImageInput("x", np.dtype(np.float32), layout, batch, channels, height, width)


def test_initializers_among_the_inputs_are_no_inputs():
    m = model([1, 3, 8, 8], w=[1, 3, 8, 8])
    m.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 3, 8, 8), np.float32), "w"))
    assert image_input(m).name == "x"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (model([1, 3]), "no input of rank 4"),
        (model([1, 3, 8, 8], state=[1, 5]), "needs more than a picture: 'state'"),
        (model([1, 3, 8, 8], TensorProto.INT64), "takes int64"),
        (model([1, 4, 8, 8]), "has 4 channels"),
    ],
)
def test_models_that_take_no_picture(bad, message):
    with pytest.raises(ClipError, match=message):
        image_input(bad)


@pytest.mark.parametrize("clip", ["clip.mkv", "clip.gif", "stills", "stills/*.png"])
def test_all_kinds_of_clips_in_order(folder, clip):
    images = read_clip(folder / clip, TARGET).images
    assert len(images) == COUNT and images[0].shape == (64, 96, 3)
    means = [i.mean() for i in images]
    allowed = 40 if clip.endswith("gif") else 1  # rgb8 holds 4 levels of blue
    assert np.abs(np.subtract(means, [level(t) for t in range(COUNT)])).max() <= allowed
    assert means == sorted(means)  # frame2 before frame10


def test_start_and_frames(folder):
    images = read_clip(folder / "clip.mkv", TARGET, ClipOptions(start=3, frames=4)).images
    assert [round(i.mean() / 20) for i in images] == [3, 4, 5, 6]


def test_progress_counts_the_frames(folder):
    seen: list[int] = []
    read_clip(folder / "clip.mkv", TARGET, ClipOptions(frames=3), seen.append)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("target", "options", "size"),
    [
        (TARGET, ClipOptions(), (96, 64)),
        (ImageInput("x", np.dtype(np.float32), "nchw", 1, 3, None, None), ClipOptions(), (96, 64)),  # of 100 x 70
        (ImageInput("x", np.dtype(np.float32), "nchw", 1, 3, None, None), ClipOptions(size=(50, 40)), (50, 40)),
        (ImageInput("x", np.dtype(np.float32), "nchw", 1, 3, 640, None), ClipOptions(), (96, 640)),
    ],
)
def test_size(folder, target, options, size):
    assert read_clip(folder / "clip.mkv", target, options).size == size


def colour_clip(target: ImageInput, options: ClipOptions) -> Clip:
    """One pixel, red 10, green 20, blue 30 in the order that `options` name."""
    pixel = {"rgb": [10, 20, 30], "bgr": [30, 20, 10], "gray": [18]}[options.order or "rgb"]
    return Clip([np.array([[pixel]], np.uint8)], target, options)


@pytest.mark.parametrize(
    ("layout", "dtype", "options", "expected"),
    [
        ("nchw", np.float32, ClipOptions(), [10, 20, 30]),
        ("nhwc", np.float32, ClipOptions(order="bgr"), [30, 20, 10]),
        ("nchw", np.float32, ClipOptions(mean=(10,), std=(2,)), [0, 5, 10]),
        ("nchw", np.float32, ClipOptions(mean=(1, 2, 3), std=(9, 6, 3)), [1, 3, 9]),
        ("nchw", np.uint8, ClipOptions(), [10, 20, 30]),
        ("nchw", np.float16, ClipOptions(std=(10,)), [1, 2, 3]),
    ],
)
def test_pixels_become_numbers(layout, dtype, options, expected):
    target = ImageInput("x", np.dtype(dtype), layout, 2, 3, 1, 1)
    x = colour_clip(target, options).feed(0)["x"]
    assert x.dtype == dtype and x.shape == ((2, 3, 1, 1) if layout == "nchw" else (2, 1, 1, 3))
    assert x.reshape(2, 3).tolist() == [expected, expected]


def test_orders(tmp_path):
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    encode(tmp_path / "red.png", "png", "rgb24", [red])
    target = ImageInput("x", np.dtype(np.float32), "nchw", 1, None, 32, 32)
    value = {
        order: read_clip(tmp_path / "red.png", target, ClipOptions(order=order)).feed(0)["x"][0, :, 0, 0].tolist()
        for order in ("rgb", "bgr", "gray")
    }
    assert value["rgb"] == [200, 0, 0] and value["bgr"] == [0, 0, 200] and len(value["gray"]) == 1


GRAY = ImageInput("x", np.dtype(np.float32), "nchw", 1, 1, 64, 96)
BYTES = ImageInput("x", np.dtype(np.uint8), "nchw", 1, 3, 64, 96)


@pytest.mark.parametrize(
    ("target", "options", "message", "hint"),
    [
        (TARGET, ClipOptions(start=COUNT), "it has 12 and reading starts at 12", "--start below 12"),
        (TARGET, ClipOptions(frames=0), "no such range", None),
        (TARGET, ClipOptions(size=(97, 64)), "--size 97x64: the model's width is 96", "the model takes 96x64"),
        (TARGET, ClipOptions(size=(96, 65)), "the model's height is 64", "96x64"),
        (TARGET, ClipOptions(order="gray"), "gray gives 1 channel", "--order rgb"),
        (GRAY, ClipOptions(order="bgr"), "bgr gives 3 channel", "--order gray"),
        (GRAY, ClipOptions(mean=(1, 2, 3)), "--mean has 3 numbers", None),
        (TARGET, ClipOptions(std=(1, 0, 1)), "--std is 0", None),
        (BYTES, ClipOptions(mean=(127,)), "takes uint8 pixels", "leave --mean"),
    ],
)
def test_options_that_do_not_fit(folder, target, options, message, hint):
    with pytest.raises(ClipError, match=message) as caught:
        read_clip(folder / "clip.mkv", target, options)
    assert hint is None or hint in (caught.value.hint or "")


def test_clips_that_cannot_be_read(tmp_path, folder):
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    cut = (folder / "stills" / "frame3.png").read_bytes()[:60]
    (tmp_path / "cut.png").write_bytes(cut)
    cases = {
        "text.mp4": "does not decode as a video or image",
        "empty.mp4": "does not decode",
        "cut.png": "does not decode|no frame in the range",
        "folder": "no images in this folder",
        "*.gif": "no file matches",
        "absent.mp4": "no such file or folder",
    }
    for clip, message in cases.items():
        with pytest.raises(ClipError, match=message) as caught:
            read_clip(tmp_path / clip, TARGET)
        assert caught.value.hint


def test_a_sound_file_holds_no_pictures(tmp_path):
    with av.open(str(tmp_path / "tone.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with pytest.raises(ClipError, match="holds no pictures"):
        read_clip(tmp_path / "tone.wav", TARGET)


def test_without_pyav_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ClipError, match="PyAV") as caught:
        read_clip(folder / "clip.mkv", TARGET)
    assert caught.value.hint == 'pip install "rrm_onnx[video]"'


@pytest.mark.parametrize("name", ["street", "bottles", "flies-resting", "face"])
def test_same_feeds_as_the_corpus(name, corpus, monkeypatch):
    monkeypatch.syspath_prepend(str(corpus))
    import frames as reader

    pair = reader.pairs(corpus)[name] | {"frames": 3}
    target = image_input(onnx.load(reader.model_of(pair)))
    numbers = {k: tuple(np.atleast_1d(pair[k]).tolist()) for k in ("mean", "std") if k in pair}
    options = ClipOptions(pair.get("start", 0), 3, tuple(pair["size"]), pair["order"], **numbers)
    mine = read_clip(corpus / pair["clip"], target, options)
    for got, want in zip(mine.feeds(), reader.feeds(pair), strict=True):
        assert got.keys() == want.keys()
        for key in want:
            np.testing.assert_array_equal(got[key], want[key])
