"""Calibration: from footage and the error that one accepts to a threshold for every gate."""
