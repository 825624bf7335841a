"""The self-check at run time: every N-th frame of a stream is computed anew too, and the two answers are compared.

So a deployed system learns when its footage has left what its thresholds were chosen for. NumPy only.
"""

from __future__ import annotations

import dataclasses
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from rrm_onnx.distance import Array, worst_error
from rrm_onnx.errors import RrmError

STREAM, RESET = "rrm_stream", "rrm_reset"
MOST_STREAMS = 1 << 16  # of which something is kept: ids may come and go for months

Feed = Mapping[str, Any]
Value = TypeVar("Value")


def frames_between(check_every: Any) -> int:
    """`check_every` as the user gave it; 0 where it is off."""
    if check_every is None:
        return 0
    try:
        every = -1 if isinstance(check_every, bool) else operator.index(check_every)
    except TypeError:
        every = -1
    if every < 0:
        hint = "give the number of frames from one check to the next, or None for no checks"
        raise RrmError(f"check_every is {check_every!r}, not a whole number of at least 0", hint)
    return every


@dataclasses.dataclass
class Record:
    """The errors of the checks so far. A NaN stays: in the mean, and as the worst."""

    checks: int = 0
    total: float = 0.0
    worst: float | None = None
    last: float | None = None

    def add(self, error: float) -> None:
        self.checks += 1
        self.total += error
        self.worst = error if self.worst is None else float(np.maximum(self.worst, error))
        self.last = error

    def to_dict(self) -> dict[str, Any]:
        mean = self.total / self.checks if self.checks else None
        return {"checks": self.checks, "mean": mean, "worst": self.worst, "last": self.last}


class SelfCheck:
    """Counts the frames of every stream, runs those that are due a second time, and keeps the errors.

    every: frames from one check to the next. streams: the ids that the model assumes where none are fed; None for a
    model without streams, which counts as one. Threads may run different streams at once.
    """

    def __init__(self, every: int, streams: Sequence[int] | None) -> None:
        self.every, self.has_streams = every, streams is not None
        self._default = tuple(streams or (0,))
        self._frames: OrderedDict[int, int] = OrderedDict()  # since the stream was computed anew; absent: never seen
        self._streams: OrderedDict[int, Record] = OrderedDict()
        self._record = Record()
        self._lock = threading.Lock()

    def run(self, feed: Feed, run: Callable[[Feed], Sequence[Any]], reset: Callable[[], object]) -> Sequence[Any]:
        """The answer to `feed`. run: one run of the model. reset: forgets all frames, for a model without streams."""
        ids = self._ids(feed)
        if self.has_streams and _values(feed.get(RESET, False)).any():
            self._forget(ids)
        answer = run(feed)
        if not self._count(ids) or not _arrays(answer):
            return answer
        self._forget(ids)  # should what follows fail, the next frame is a first one
        if not self.has_streams:
            reset()
        anew = run({**feed, RESET: np.array(True)} if self.has_streams else feed)
        self._keep(ids, _arrays(answer), _arrays(anew))
        return anew

    def start_anew(self) -> None:
        """All frames were forgotten: the next one of every stream is a first one. The errors stay."""
        with self._lock:
            self._frames.clear()

    def clear(self) -> None:
        """Start the errors anew. The checks keep their rhythm."""
        with self._lock:
            self._record = Record()
            self._streams.clear()

    def to_dict(self) -> dict[str, Any]:
        """See `InferenceSession.stats`."""
        with self._lock:
            found = {"every": self.every, **self._record.to_dict()}
            if self.has_streams:
                found["streams"] = {i: record.to_dict() for i, record in self._streams.items()}
            return found

    def _ids(self, feed: Feed) -> tuple[int, ...]:
        """The streams of a run, one for each row of the batch."""
        if not self.has_streams or STREAM not in feed:
            return self._default
        return tuple(int(i) for i in _values(feed[STREAM]).ravel())

    def _count(self, ids: Sequence[int]) -> bool:
        """Counts a frame of each stream; whether one of them is due. A first frame is computed in full anyway."""
        with self._lock:
            known = [i in self._frames for i in ids]
            for i in ids:
                _put(self._frames, i, self._frames.get(i, 0) + 1)
            return any(k and self._frames[i] >= self.every for i, k in zip(ids, known, strict=True))

    def _forget(self, ids: Sequence[int]) -> None:
        with self._lock:
            for i in ids:
                self._frames.pop(i, None)

    def _keep(self, ids: Sequence[int], answer: list[Array], anew: list[Array]) -> None:
        errors = [worst_error(answer, anew)] * len(ids)
        if len(ids) > 1 and all(a.shape[:1] == b.shape[:1] == (len(ids),) for a, b in zip(answer, anew, strict=True)):
            errors = [
                worst_error([a[k : k + 1] for a in answer], [b[k : k + 1] for b in anew]) for k in range(len(ids))
            ]
        with self._lock:
            self._record.add(worst_error(answer, anew))
            for i, error in zip(ids, errors, strict=True):
                _put(self._frames, i, 0)
                _put(self._streams, i, self._streams.get(i, Record())).add(error)


def _put(held: OrderedDict[int, Value], key: int, value: Value) -> Value:
    """Sets an entry, and lets go of the one that was not set for longest where there are too many."""
    held[key] = value
    held.move_to_end(key)
    if len(held) > MOST_STREAMS:
        held.popitem(last=False)
    return value


def _values(fed: Any) -> Array:
    """An input as the caller may feed it: array, list or OrtValue."""
    return np.asarray(fed.numpy() if hasattr(fed, "numpy") else fed)


def _arrays(answer: Sequence[Any]) -> list[Array]:
    """The outputs that can be compared."""
    return [a for a in answer if isinstance(a, np.ndarray) and a.dtype.kind in "fiub"]
