"""Calibration: from footage and the error that one accepts to a threshold for every gate.

`record` keeps the frames and the original's answers, `points` knows the gates, `trial` runs the converted model with a
setting of them, `search` finds the best one, `curve` holds it against the alternatives, `metrics` says what an error
is; `run` is all of it.
"""

from rrm_onnx.calibrate.run import CalibrationStopped, Progress, calibrate
from rrm_onnx.calibrate.thresholds import Thresholds

__all__ = ["CalibrationStopped", "Progress", "Thresholds", "calibrate"]
