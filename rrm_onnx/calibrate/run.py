"""The calibration from end to end."""

from __future__ import annotations

import dataclasses
import numbers
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

import rrm_onnx
from rrm_onnx import video, yardstick
from rrm_onnx.calibrate.check import Check
from rrm_onnx.calibrate.curve import Entry, curve
from rrm_onnx.calibrate.metrics import Metric, make
from rrm_onnx.calibrate.points import Setting
from rrm_onnx.calibrate.record import SPEED, record
from rrm_onnx.calibrate.search import Found, Search
from rrm_onnx.calibrate.thresholds import Thresholds
from rrm_onnx.calibrate.trial import Outcome, Trial, prepare
from rrm_onnx.errors import CalibrationError, RrmError
from rrm_onnx.normalise.inputs import set_input_shapes
from rrm_onnx.types import Options

Clips = str | os.PathLike[str] | Iterable[yardstick.Feed] | Any


class CalibrationStopped(CalibrationError):
    """The calibration broke off. found: the thresholds that were known then; they keep to the budget on the frames that
    were searched on, and where their facts have `check` on the others too."""

    def __init__(self, message: str, hint: str | None, found: Thresholds) -> None:
        super().__init__(message, hint)
        self.found = found


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a calibration is. stage: `recording`, `learning`, `holding`, `weights`, `turns`, `checking` or
    `comparing`; done, total: steps, total 0 where it is not known; best: what the best thresholds so far give, the
    exact ones at first; None before."""

    stage: str
    done: int
    total: int
    best: Outcome | None = None


@dataclasses.dataclass(frozen=True)
class Budget:
    """metric, and what it may say: the largest mean of an error, the least mean of an agreement. name: the metric as
    the user wrote it, with its parameters."""

    metric: Metric
    value: float
    name: str

    def __post_init__(self) -> None:
        high = float("inf") if self.metric.is_error else 1.0
        number = isinstance(self.value, numbers.Real) and not isinstance(self.value, bool)
        if not number or not 0 < self.value < high:
            wanted = "a number above 0" if self.metric.is_error else "a number between 0 and 1, both excluded"
            raise CalibrationError(f"a budget of {self.value} for {self.metric.kind}", hint=f"it has to be {wanted}")

    @property
    def allowed(self) -> float:
        """The largest mean loss."""
        return float(self.value if self.metric.is_error else 1 - self.value)

    def loss(self, truth: Sequence[Any], got: Sequence[Any]) -> float:
        found = self.metric(truth, got)
        return found if self.metric.is_error else 1 - found


def calibrate(
    model: str | os.PathLike[str] | onnx.ModelProto,
    frames: Clips,
    *,
    metric: str | Callable[..., Any] | Metric = "l2",
    budget: float,
    reading: video.ClipOptions | None = None,
    threads: int = 2,
    minutes: float = 10.0,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    skip: Sequence[str] = (),
    progress: Callable[[Progress], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Thresholds:
    """Thresholds for all gates of the converted `model`: the least time at a loss that `budget` allows.

    frames: a clip (video, GIF, folder of images, image glob), an iterable of feeds {input name: array}, an
        onnxruntime.quantization.CalibrationDataReader, or a list of these, each a stretch of its own. Frames of a
        stretch follow one another in time. Two thirds of each are searched on, the rest checks.
    metric: what a loss is, see `rrm_onnx.calibrate.metrics`; the original's answer on the same frame is the truth.
    budget: for `l2` the largest mean relative error, for all others the least mean agreement.
    reading: how clips are read. threads: of each session. minutes: the search ends then, with what it has; they begin
        when the original has run on all frames, so that learning what the nodes cost counts.
    input_shapes, skip: as `convert` takes them; to be given to it again.
    progress: called often; KeyboardInterrupt (Ctrl-C) ends the search with what it has.
    warn: called with each sentence that the reader of the results has to know.

    Frames and the original's answers go to files in the temporary folder: memory does not grow with their number.
    Raises RrmError; where a search was under way CalibrationStopped, which holds what was found.
    """
    source = yardstick.load(model)
    prepared = prepare(source, Options(input_shapes=input_shapes, skip=tuple(skip)))
    original = _shaped(source, input_shapes)
    measure = make(metric, size=_size(original))
    yardstick.settle_denormals()
    judge = Budget(measure, budget, metric if isinstance(metric, str) else measure.kind)
    clips, names = _clips(frames, original, reading or video.ClipOptions(), warn)
    recorded = lambda done: progress(Progress("recording", done, 0))  # noqa: E731
    learnt = lambda done, total: progress(Progress("learning", done, total))  # noqa: E731
    with record(original, clips, judge.metric.check, threads=threads, step=recorded) as recording:
        until = time.monotonic() + 60 * minutes
        trial = Trial(prepared, recording, judge.loss, threads=threads, until=until, step=learnt)
        return _Calibration(trial, judge, progress, names, warn).run(until)


class _Calibration:
    """Search, check, comparison; what is known when one of them stops."""

    def __init__(
        self,
        trial: Trial,
        judge: Budget,
        progress: Callable[[Progress], None],
        clips: Sequence[str],
        warn: Callable[[str], None],
    ) -> None:
        self.trial, self.judge, self.progress, self.clips, self.warn = trial, judge, progress, clips, warn
        self.stopped = ""

    def run(self, until: float) -> Thresholds:
        search = Search(self.trial, self.judge.allowed, until - time.monotonic(), self._report)
        found = search.found
        try:
            found = search.run()
            if not found.complete:
                self.stopped = "out of time"
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        except RrmError as error:
            raise self._broken(error, found, found.setting, {}) from error
        return self._finish(found)

    def _report(self, stage: str, done: int, total: int, found: Found) -> None:
        self.progress(Progress(stage, done, total, found.outcome))

    def _broken(self, error: RrmError, found: Found, setting: Setting, facts: Mapping[str, Any]) -> CalibrationStopped:
        self.stopped = error.message
        return CalibrationStopped(error.message, error.hint, self._thresholds(found, setting, facts))

    def _finish(self, found: Found) -> Thresholds:
        report = lambda done, total: self.progress(Progress("checking", done, total, found.outcome))  # noqa: E731
        check = Check(self.trial, self.judge.allowed, report)
        try:
            setting, checked = check.run(found)
        except KeyboardInterrupt as interrupt:
            error = CalibrationError("interrupted before the thresholds were checked", hint="let the check run through")
            raise self._broken(error, found, check.standing(found), {}) from interrupt
        except RrmError as error:
            raise self._broken(error, found, check.standing(found), {}) from error
        facts: dict[str, Any] = {"check": checked.to_dict()}
        entries = self._compared(setting, checked)
        return dataclasses.replace(self._thresholds(found, setting, facts), curve=entries)

    def _compared(self, setting: Setting, checked: Outcome) -> list[Entry]:
        """The curve; empty where the user has no patience for it, or the metric stumbles over an alternative: the
        thresholds stand without."""
        step = lambda done, total: self.progress(Progress("comparing", done, total, checked))  # noqa: E731
        try:
            return [] if self.stopped == "interrupted" else curve(self.trial, setting, self.trial.recording.check, step)
        except KeyboardInterrupt:
            return []
        except RrmError as error:
            self.warn(f"there is no comparison with other ways to save: {error.message}")
            return []

    def _thresholds(self, found: Found, setting: Setting, facts: Mapping[str, Any]) -> Thresholds:
        recording = self.trial.recording
        everything = {
            "tool": f"rrm_onnx {rrm_onnx.__version__}",
            "clips": list(self.clips),
            "metric": self.judge.name,
            "is_error": self.judge.metric.is_error,
            "budget": float(self.judge.value),
            "frames": recording.footage,
            "searched_on": sum(len(s) for s in recording.fit),
            "tried": found.tried,
            "stopped": self.stopped,
            "original_ms": recording.dense_ms,
            "uniform": found.uniform.thresholds[0] if found.uniform else None,
            "fit": found.outcome.to_dict(),
            "stale": {"speed": SPEED, "periods": sorted(found.stale)},
            **facts,
        }
        return Thresholds(
            tuple(self.trial.points),
            setting,
            tuple(self.trial.scales),
            tuple(float(s) for s in found.sensitivity),
            self.trial.digest,
            everything,
        )


def _shaped(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None) -> onnx.ModelProto:
    """The original with these shapes: what pictures it takes, and onnxruntime may make use of them on both sides."""
    if not shapes:
        return model
    copy = yardstick.dense_model(model)
    set_input_shapes(copy, shapes)
    return copy


def _size(model: onnx.ModelProto) -> tuple[int, int] | None:
    """(width, height) of the network's picture where the model says it."""
    try:
        target = video.image_input(model)
    except RrmError:
        return None
    return (target.width, target.height) if target.width and target.height else None


def _clips(
    frames: Any, model: onnx.ModelProto, reading: video.ClipOptions, warn: Callable[[str], None]
) -> tuple[list[Iterable[yardstick.Feed]], list[str]]:
    """Each stretch as feeds, and what it is called."""
    several = frames if isinstance(frames, (list, tuple)) and not _are_feeds(frames) else [frames]
    clips, names = list[Iterable[yardstick.Feed]](), list[str]()
    for k, clip in enumerate(several):
        if isinstance(clip, (str, os.PathLike)):
            clips.append(video.feeds(clip, video.image_input(model), reading, warn))
            names.append(str(clip))
        elif hasattr(clip, "get_next"):
            clips.append(_named(iter(clip.get_next, None), k))
            names.append(type(clip).__name__)
        elif isinstance(clip, Iterable):
            clips.append(_named(clip, k))
            names.append(f"feeds {k}")
        else:
            raise CalibrationError(
                f"frames of type {type(clip).__name__} cannot be read",
                hint="give a clip, an iterable of feeds, or a CalibrationDataReader",
            )
    return clips, names


def _are_feeds(frames: Sequence[Any]) -> bool:
    return bool(frames) and all(isinstance(f, Mapping) for f in frames)


def _named(feeds: Iterable[Any], clip: int) -> Iterator[yardstick.Feed]:
    for t, feed in enumerate(feeds):
        if not isinstance(feed, Mapping):
            raise CalibrationError(
                f"frame {t} of stretch {clip} is {type(feed).__name__}, not a feed", hint="give {input name: array}"
            )
        yield {name: np.asarray(value) for name, value in feed.items()}
