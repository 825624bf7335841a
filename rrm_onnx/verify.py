"""Does a converted model answer as the original does? Both run the same frames; the converted one also starts anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx

from rrm_onnx.errors import RrmError
from rrm_onnx.yardstick import (
    Array,
    Feed,
    Model,
    converted_session,
    dense_session,
    difference,
    is_exact,
    load,
    relative_l2,
    run,
    same_bits,
    thresholds,
)

EXACT_RTOL = 1e-4  # ONNX Runtime against itself at other optimisation levels: up to 5e-6


@dataclasses.dataclass(frozen=True)
class OutputReport:
    """One output over all frames. Errors are relative L2 norms: |converted - original| / |original|."""

    name: str
    mean_error: float
    worst_error: float
    worst_frame: int
    largest_difference: float

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of `verify`.

    fresh_equal: the outputs of the last frame equal, bit for bit, those of a fresh session that is fed this frame
    alone. A model converted with a tolerance does not promise that; `exact` says which promise holds.
    """

    frames: int
    rtol: float
    exact: bool
    fresh_equal: bool
    outputs: tuple[OutputReport, ...]

    @property
    def failures(self) -> list[str]:
        """What is not as promised, one sentence each; empty when the check passed."""
        found = [
            f"output {o.name!r}: relative L2 {o.worst_error:.3g} in frame {o.worst_frame} is above {self.rtol:g}"
            for o in self.outputs
            if not o.worst_error <= self.rtol  # NaN must fail
        ]
        if self.exact and not self.fresh_equal:
            found.append("the last frame's outputs differ from those of a fresh session that is fed this frame alone")
        return found

    @property
    def ok(self) -> bool:
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "frames": self.frames,
            "rtol": self.rtol,
            "exact": self.exact,
            "fresh_equal": self.fresh_equal,
            "outputs": [o.to_dict() for o in self.outputs],
            "failures": self.failures,
        }


def verify(
    model: Model,
    converted: Model,
    feeds: Iterable[Feed],
    *,
    rtol: float | None = None,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Runs `feeds` (one dict of input name -> array per frame, in order) through both models and compares.

    rtol: the largest relative L2 norm that an output may show in any frame; None is `default_rtol(converted)`.
    threads: intra-op threads of both sessions, 0 leaves it to ONNX Runtime. progress: called with the frames done.
    Raises RrmError when a model does not load or no feed is given.
    """
    converted_model = load(converted)
    rtol = default_rtol(converted_model) if rtol is None else rtol
    dense = dense_session(load(model), threads)
    session = converted_session(converted_model, threads)
    names = [o.name for o in dense.get_outputs()]
    if missing := sorted(set(names) - {o.name for o in session.get_outputs()}):
        raise RrmError(f"the converted model has no output {missing[0]!r}", hint="convert it again from this original")
    tally = [Tally(name) for name in names]
    feed: Feed | None = None
    last: list[Array] = []
    for t, feed in enumerate(feeds):
        last = run(session, names, feed)
        for column, got, want in zip(tally, last, run(dense, names, feed), strict=True):
            column.add(t, got, want)
        if progress:
            progress(t + 1)
    if feed is None:
        raise RrmError("nothing to verify: no frame was given", hint="pass at least one feed")
    fresh = run(converted_session(converted_model, threads), names, feed)
    return Report(
        frames=tally[0].frames if tally else 0,
        rtol=rtol,
        exact=is_exact(converted_model),
        fresh_equal=all(same_bits(a, b) for a, b in zip(last, fresh, strict=True)),
        outputs=tuple(column.report() for column in tally),
    )


def default_rtol(converted: onnx.ModelProto) -> float:
    """1e-4 for an exact model. Under a tolerance the thresholds bound each layer's error, not the output's: ten times
    the tolerance is a check for blunders, and --rtol states what your task can stand. At most 1, which a zero is off
    by: where anything passes in some frames only, thresholds bound nothing in between."""
    if is_exact(converted):
        return EXACT_RTOL
    return min(1.0, max(EXACT_RTOL, 10 * max(thresholds(converted))))


class Tally:
    """The errors of one output, frame by frame."""

    def __init__(self, name: str) -> None:
        self.name, self.errors, self.largest = name, list[float](), 0.0

    @property
    def frames(self) -> int:
        return len(self.errors)

    def add(self, t: int, got: Array, want: Array) -> None:
        if want.dtype.hasobject:
            self.errors.append(0.0 if same_bits(got, want) else float("inf"))
            return
        self.errors.append(relative_l2(got, want))
        if got.shape == want.shape and want.size:
            apart = np.abs(difference(got.astype(np.float64), want.astype(np.float64))).max()
            self.largest = float(np.maximum(self.largest, apart))  # a NaN stays

    def report(self) -> OutputReport:
        worst = int(np.argmax(self.errors))  # argmax takes a NaN for the largest
        return OutputReport(self.name, float(np.mean(self.errors)), self.errors[worst], worst, self.largest)
