"""The demo's network: PP-OCRv6 text detection, out of the installed package rapidocr (Apache-2.0)."""

from __future__ import annotations

import importlib.util
import pathlib

from rrm_onnx.errors import RrmError
from rrm_onnx.video import ClipOptions

MODEL = "PP-OCRv6_det_small.onnx"
INSTALL = 'pip install "rrm_onnx[demo]"'
READING = ClipOptions(order="bgr", mean=(127.5,), std=(127.5,))  # as the network was trained
TEXT = 0.3  # the output is the probability that a pixel belongs to text; rapidocr's own limit


def find_model() -> pathlib.Path:
    """Path of the network inside rapidocr, which is not imported: that would load OpenCV."""
    spec = importlib.util.find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        raise RrmError("the demo's network comes with rapidocr, which is not installed", hint=INSTALL)
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "models"
    if (folder / MODEL).exists():
        return folder / MODEL
    found = sorted(folder.glob("*det*.onnx"))
    if not found:
        raise RrmError(f"the installed rapidocr brings no text detection network ({folder})", hint=f"{INSTALL} -U")
    return found[0]
