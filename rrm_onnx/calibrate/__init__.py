"""Calibration: the error that the user accepts becomes a threshold for every gate."""
