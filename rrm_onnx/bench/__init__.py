"""Dense against converted, frame by frame in one process: `compare`. How it is timed: see `interleave`."""

from rrm_onnx.bench.interleave import compare
from rrm_onnx.bench.result import Result, Side

__all__ = ["Result", "Side", "compare"]
