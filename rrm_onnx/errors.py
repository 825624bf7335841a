"""The error tree: every error has one line that says what happened and where, and where possible a hint what to do."""

from __future__ import annotations


class RrmError(Exception):
    """Base of all errors that this package raises on purpose.

    message: one sentence, without a full stop; hint: what the user can do; node: name of the graph node it is about.
    """

    def __init__(self, message: str, hint: str | None = None, node: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.node = node
        if hint:
            self.add_note(f"hint: {hint}")  # shown below the message in a traceback


class LoadError(RrmError):
    """The model file cannot be read or is not a valid ONNX model."""


class ConvertError(RrmError):
    """The model is valid, but the conversion that was asked for is not possible."""


class InternalError(RrmError):
    """This package made something that is inconsistent: a bug, to be reported."""


class ThresholdsError(RrmError):
    """The thresholds are malformed, out of range or belong to another model."""


class CalibrationError(RrmError):
    """A calibration cannot be made, or cannot go on."""


class MetricError(RrmError):
    """A metric is unknown, does not fit the outputs that it is to compare, or is a function that failed."""


class ClipError(RrmError):
    """The video clip cannot be read."""


class RuntimeMissingError(RrmError):
    """A package or library that is needed at run time is not installed."""
