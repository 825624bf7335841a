"""The Recurrent Residual Module as its paper has it, in NumPy, for comparison only: no converted model uses it.

Pan et al., Recurrent Residual Module for Fast Inference in Videos, CVPR 2018 (arXiv 1802.09723): a convolution is
linear, so `W*x(t) = W*x(t-1) + W*(x(t) - x(t-1))`; elements of the difference below a threshold are set to zero, and
the next difference is taken from x(t), not from what the output was computed of. What was set to zero is lost for
good: under a slow change the output drifts away without bound. The gate of this package compares with the *held* row,
so its error stays below the threshold; see tests/test_reference.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rrm_onnx.ops.conv import correlate
from rrm_onnx.ops.reference_math import Taps

Map = npt.NDArray[np.float32]


class PaperConv:
    """One convolution of one stream by truncated frame differences. weights and taps as in `conv.correlate`."""

    def __init__(self, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], threshold: float) -> None:
        self.weights, self.bias, self.threshold = weights, bias, threshold
        self.previous: Map | None = None
        self.output: Any = None

    def step(self, x: Map, taps: Taps) -> Map:
        """The output map [H', W', M] after frame `x` [H, W, C]. The first frame is computed whole."""
        if self.previous is None:
            self.output = correlate(x, taps, self.weights, self.bias)
        else:
            residual = x - self.previous
            kept = np.where(np.abs(residual) > self.threshold, residual, np.float32(0))
            self.output = self.output + correlate(kept, taps, self.weights, np.zeros_like(self.bias))
        self.previous = x.copy()
        return np.asarray(self.output, dtype=np.float32)
