"""The frames of a calibration and the original's answers to them, on disk: memory does not grow with their number."""

from __future__ import annotations

import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
import onnx

from rrm_onnx import yardstick
from rrm_onnx.errors import CalibrationError
from rrm_onnx.yardstick import Array

FEWEST = 12  # frames of a clip: less than that says nothing about what is not seen
SHAKEN, SHIFTS, FARTHEST = 4, 3, 3  # frames that are moved, how often each, by how many pixels at most
FIT = 2 / 3  # of a clip's frames; what is behind them checks
SPEED = 2  # times the clip's: at it, too, what passes in some frames only has to keep to the allowed loss


@dataclass(frozen=True)
class Stretch:
    """Every `step`-th of the frames [first, end) that follow one another in one clip."""

    first: int
    end: int
    step: int = 1

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def frames(self) -> range:
        return range(self.first, self.end, self.step)

    @property
    def fast(self) -> Stretch:
        """At SPEED times the clip's: between two frames more moves, and an answer that is held is older."""
        return replace(self, step=SPEED)

    def shows(self, period: int) -> bool:
        """Whether it is long enough to tell what turns of this period lose: at a higher speed, too, a whole one."""
        return period == 1 or len(self.fast) > period


class Recording:
    """Frames as feeds and the original's answers, by number; `fit` and `check`: the stretches to search and to check
    on; `shaken` and `shaken_check`: frames of these moved by a few pixels, so that everything in them changes (none
    where no input is a picture). A context manager: the files go when it ends."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rrm-calibrate-")
        self._arrays: list[tuple[list[str], int]] = []  # of each frame: input names, number of outputs
        self.fit: list[Stretch] = []
        self.check: list[Stretch] = []
        self.shaken: list[Stretch] = []
        self.shaken_check: list[Stretch] = []
        self.dense_ms = 0.0  # a frame, by the median
        self.changes: list[float] = []  # of each frame's input against the one before: RMS over the RMS of the input

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def footage(self) -> int:
        """So many frames, the first ones, are the user's."""
        return max(s.end for s in self.check)

    def _path(self, t: int, what: str) -> pathlib.Path:
        return pathlib.Path(self._folder.name, f"{t}-{what}.npy")

    def add(self, feed: yardstick.Feed, truth: Sequence[Array]) -> None:
        t = len(self._arrays)
        arrays = [(f"in{k}", value) for k, value in enumerate(feed.values())]
        arrays += [(f"out{k}", value) for k, value in enumerate(truth)]
        try:
            for what, value in arrays:
                np.save(self._path(t, what), np.asarray(value))
        except OSError as error:
            raise CalibrationError(
                f"frame {t} cannot be kept in {self._folder.name}: {error.strerror or error}",
                hint="use fewer frames, or set TMPDIR to a folder with more room",
            ) from error
        self._arrays.append((list(feed), len(truth)))

    def feed(self, t: int) -> dict[str, Array]:
        return {name: self._load(t, f"in{k}") for k, name in enumerate(self._arrays[t][0])}

    def truth(self, t: int) -> list[Array]:
        """The original's answer to frame t."""
        return [self._load(t, f"out{k}") for k in range(self._arrays[t][1])]

    def _load(self, t: int, what: str) -> Array:
        """Texts are pickled: these are files of our own, in a folder that is the user's alone."""
        return np.asarray(np.load(self._path(t, what), allow_pickle=True))

    def close_clip(self, first: int) -> None:
        """Frames [first, now) are one clip: the first two thirds of them fit, the rest checks."""
        count = len(self) - first
        if count == 0:
            raise CalibrationError("there are no frames", hint="give a clip, or an iterable that is not used up")
        if count < FEWEST:
            raise CalibrationError(
                f"a clip of {count} frames is too short to calibrate on",
                hint=f"give {FEWEST} frames or more; some hundred that show what the camera usually sees are better",
            )
        if not any(self.changes[first + 1 :]):
            raise CalibrationError(
                "nothing changes in the clip: all its frames are equal",
                hint="calibrate on footage like that which the model will see",
            )
        middle = first + round(FIT * count)
        self.fit.append(Stretch(first, middle))
        self.check.append(Stretch(middle, len(self)))


def record(
    model: onnx.ModelProto,
    clips: Iterable[Iterable[yardstick.Feed]],
    check: Callable[[Sequence[Array]], None],
    *,
    threads: int,
    step: Callable[[int], None] = lambda done: None,
) -> Recording:
    """The original on all frames of all clips. check: called with the answer to the first frame. step: called with the
    number of frames so far. Raises CalibrationError for clips that are too short or in which nothing changes."""
    session = yardstick.dense_session(model, threads)
    names = [o.name for o in session.get_outputs()]
    recording, seconds = Recording(), list[float]()
    try:
        for clip in clips:
            first, last = len(recording), None
            for feed in clip:
                start = time.perf_counter()
                truth = yardstick.run(session, names, feed)
                seconds.append(time.perf_counter() - start)
                if len(recording) == 0:
                    check(truth)
                recording.changes.append(0.0 if last is None else change(last, feed))
                recording.add(feed, truth)
                last = {name: np.array(value) for name, value in feed.items()}  # the user's may be a buffer
                step(len(recording))
            recording.close_clip(first)
        if not recording.fit:
            raise CalibrationError("there are no frames", hint="give a clip, or an iterable that is not used up")
        for of, found in ((recording.fit, recording.shaken), (recording.check, recording.shaken_check)):
            first = len(recording)
            for feed in shaken(recording, of):
                recording.changes.append(0.0)
                recording.add(feed, yardstick.run(session, names, feed))
            if len(recording) > first:
                found.append(Stretch(first, len(recording)))
    except BaseException:
        recording.__exit__(None, None, None)
        raise
    recording.dense_ms = 1e3 * float(np.median(seconds[1:]))
    return recording


def shaken(recording: Recording, stretches: Sequence[Stretch]) -> Iterator[dict[str, Array]]:
    """SHAKEN frames of these stretches, each moved SHIFTS times."""
    frames = [t for s in stretches for t in range(s.first, s.end)]
    rng = np.random.default_rng(frames[0])
    for t in np.linspace(0, len(frames) - 1, SHAKEN).astype(int):
        feed = recording.feed(frames[t])
        pictures = {name for name, x in feed.items() if x.ndim == 4}
        if not pictures:
            return
        for _ in range(SHIFTS):
            by = rng.integers(1, FARTHEST + 1, 2) * rng.choice([-1, 1], 2)
            yield {name: shifted(x, *by) if name in pictures else x for name, x in feed.items()}


def shifted(x: Array, down: int, right: int) -> Array:
    """A picture (N, C, H, W), or (N, H, W, C) where the last axis is one of colours, moved; its edges are repeated."""
    first = 1 if x.shape[3] in (1, 3) and x.shape[1] not in (1, 3) else 2
    for axis, by in ((first, down), (first + 1, right)):
        x = np.take(x, np.clip(np.arange(x.shape[axis]) - by, 0, x.shape[axis] - 1), axis)
    return x


def change(before: yardstick.Feed, now: yardstick.Feed) -> float:
    """How much the largest input moved, RMS of the difference over RMS; where it stands still, the next largest."""
    for name in sorted(now, key=lambda n: now[n].size, reverse=True):
        if name not in before or before[name].shape != now[name].shape:
            return 1.0
        if now[name].dtype.kind not in "fiub":  # texts
            moved = float((before[name] != now[name]).any())
        else:
            a, b = (np.asarray(feed[name], np.float64) for feed in (before, now))
            moved = float(np.sqrt(np.mean((b - a) ** 2)) / max(np.sqrt(np.mean(b**2)), 1e-12)) if b.size else 0.0
        if moved:
            return moved
    return 0.0
