"""onnxruntime's InferenceSession with the library registered: imported on first use, for it needs onnxruntime."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rrm_onnx import runtime
from rrm_onnx.errors import RrmError
from rrm_onnx.selfcheck import STREAM, SelfCheck, frames_between

if TYPE_CHECKING:
    import onnxruntime
else:
    onnxruntime = runtime.import_onnxruntime()

ONCE = "use rrm_onnx.register(options) in place of options.register_custom_ops_library(...), or neither"
# A worker that spins between two frames burns the time that was saved.
SPINNING = ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning")
_sessions: weakref.WeakSet[InferenceSession] = weakref.WeakSet()  # those in use
_lock = threading.Lock()


class InferenceSession(onnxruntime.InferenceSession):  # type: ignore[misc]
    """A session of a converted model: as onnxruntime's, with the same arguments, plus `stats`, `reset_stats`, `reset`.

    The library is registered in `sess_options` (fresh ones when None), and the thread pool's spinning is turned off
    there unless the options say otherwise (`add_session_config_entry("session.intra_op.allow_spinning", "1")`).

    Sessions made with the same `sess_options` share one group: `stats` reports and `reset` touches all of them.

    check_every: the session checks itself. Every so many frames of a stream `run` computes the frame as usual and then
    once more from a fresh state, as after `reset`. The caller gets the fresh answer, the stream goes on from it, and
    how far the usual one was off is in the "check" of `stats`. Such a frame takes as long as a usual one and a first
    one together. Frames count from the last one that was computed anew; the first one is not checked. Where the rows
    of a batch are streams, all rows are checked as soon as one is due. In a model without `--streams` a check resets
    the session, which therefore must not share its `sess_options` with another one. Only `run` can check: the other
    ways to run a session raise RrmError. None or 0: no checks.
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: onnxruntime.SessionOptions | None = None,
        providers: Any = None,
        provider_options: Any = None,
        *,
        check_every: int | None = None,
        **kwargs: Any,
    ) -> None:
        every = frames_between(check_every)
        options = onnxruntime.SessionOptions() if sess_options is None else sess_options
        self._rrm_group = runtime.register_group(options)
        for key in SPINNING:
            _set_default(options, key, "0")
        try:
            super().__init__(path_or_bytes, options, providers, provider_options, **kwargs)
        except Exception as error:  # onnxruntime's exceptions share no base below Exception
            if "Domain already set in registry" in str(error):
                raise RrmError("the library was registered twice in these session options", ONCE) from error
            raise
        self._rrm_check = SelfCheck(every, self._stream_ids()) if every else None
        with _lock:
            self._refuse_sharing()
            _sessions.add(self)

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: Any = None) -> Any:
        """As onnxruntime's; see `check_every` above."""

        def once(feed: Mapping[str, Any]) -> Any:
            return super(InferenceSession, self).run(output_names, feed, run_options)

        if self._rrm_check is None:
            return once(input_feed)
        return self._rrm_check.run(input_feed, once, lambda: runtime.query(f"reset {self._rrm_group}"))

    def stats(self) -> dict[str, Any]:
        """What the nodes did since the session was made or `reset_stats` was called.

        {"nodes": [{"name", "op", "streams", "runs", "keyframes", "sites", "active", "changed", "macs_dense",
        "macs_done", "macs_added", "swept_bytes", "ns", "state_bytes", "output_bytes", "weight_bytes", "threshold",
        "scale", "measured_scale", "inner_measured_scale", "phases"}, ...],
        "regions": [{"name", "runs", "crews", "vain", "stalled", "rested"}, ...]}, in the order of the graph.

        `runs`, `keyframes` and `ns` (nanoseconds) sum over all runs; sites and multiply-accumulates only over those
        that were no keyframes, so that `macs_done / macs_dense` is the share of the work that is left; `macs_added`
        are those of `macs_done` that added changes to kept sums. `swept_bytes` were read or written whatever changed:
        pictures compared, outputs copied, a bit a site cleared and searched. `phases`: see `time_phases`.
        `state_bytes` is held now, `output_bytes` of it in the rows of layers; `weight_bytes` is a convolution's own
        copy of its weights. `measured_scale`: the size (RMS) of a stream's first map, which stands in for a `scale` of
        0; `inner_...`: of the gate between the two convolutions of one node.

        `crews`: how often a region had threads wait for its next work; `vain`, `stalled`: of these, how often none came
        or one lost its processor in the middle of a task; `rested`: runs that did without because of that.

        With `check_every`, also {"check": {"every", "checks", "mean", "worst", "last", "streams": {id: {"checks",
        "mean", "worst", "last"}}}}: how many checks, and the error of the answers that would have been given: relative
        L2 of the worst output against the fresh answer, None before the first check. "streams" is there in models with
        streams, for the 65,536 that were checked last. A check counts as two of the nodes' `runs`, one a keyframe.
        """
        found = runtime.query(f"stats {self._rrm_group}")
        return found if self._rrm_check is None else {**found, "check": self._rrm_check.to_dict()}

    def time_phases(self, on: bool = True) -> None:
        """Time what the nodes do from now on, phase by phase, in the `phases` of `stats`: nanoseconds, summed over the
        threads. It costs a few percent.

        `tickets`: read, checked, written; `track`: which sites are active, cut into blocks; `pointers`: addresses of
        rows; `gemm`: matrix products; `kernel`: what other operators compute; `epilogue`: addend and activation;
        `gate`: rows compared with those held, and stored; `copy`: outputs; `wait`: for other threads.
        """
        runtime.query(f"phases {self._rrm_group} {int(on)}")

    def set_gate(self, node: str, gate: tuple[float, float], second: tuple[float, float] = (0.0, 0.0)) -> None:
        """Give a node's gate another (threshold, scale), while nothing runs; `reset` before the next run. For trials: a
        model is converted with its thresholds.

        second: of the gate inside of a SeparableConv that was converted with one; of an Enter (drift, period).
        """
        words = " ".join(f"{float(v):.9g}" for v in (*gate, *second))
        runtime.query(f"gate {self._rrm_group} {words} {node}")

    def reset_stats(self) -> None:
        """Start the counts of `stats` anew; the state stays."""
        runtime.query(f"reset_stats {self._rrm_group}")
        if self._rrm_check is not None:
            self._rrm_check.clear()

    def reset(self) -> None:
        """Forget all frames: the next run of every stream computes everything, as in a fresh session."""
        runtime.query(f"reset {self._rrm_group}")
        if self._rrm_check is not None:
            self._rrm_check.start_anew()

    def run_async(self, *args: Any, **kwargs: Any) -> Any:
        """As onnxruntime's; RrmError with `check_every`."""
        self._refuse("run_async")
        return super().run_async(*args, **kwargs)

    def run_with_iobinding(self, *args: Any, **kwargs: Any) -> Any:
        """As onnxruntime's; RrmError with `check_every`."""
        self._refuse("run_with_iobinding")
        return super().run_with_iobinding(*args, **kwargs)

    def run_with_ort_values(self, *args: Any, **kwargs: Any) -> Any:
        """As onnxruntime's; RrmError with `check_every`."""
        self._refuse("run_with_ort_values")
        return super().run_with_ort_values(*args, **kwargs)

    def run_with_ortvaluevector(self, *args: Any, **kwargs: Any) -> Any:
        """As onnxruntime's; RrmError with `check_every`."""
        self._refuse("run_with_ortvaluevector")
        return super().run_with_ortvaluevector(*args, **kwargs)

    def _refuse(self, method: str) -> None:
        """Frames that pass the check by would be counted by the state alone, and the errors would not be its own."""
        if self._rrm_check is not None:
            raise RrmError(f"{method} cannot check itself", "use run, or make the session without check_every")

    def _refuse_sharing(self) -> None:
        """A reset by one session while another one runs would make that run fail."""
        group = [self, *(s for s in _sessions if s._rrm_group == self._rrm_group)]
        if len(group) > 1 and any(s._rrm_check is not None and not s._rrm_check.has_streams for s in group):
            raise RrmError(
                "check_every resets the sessions that share these session options",
                hint="give each session options of its own, or convert with --streams",
            )

    def _stream_ids(self) -> tuple[int, ...] | None:
        """The ids that the model assumes where none are fed: row i is stream i. None in a model without streams."""
        inputs = [*self.get_inputs(), *self.get_overridable_initializers()]
        shape = next((i.shape for i in inputs if i.name == STREAM), None)
        if shape is None:
            return None
        return tuple(range(shape[0])) if isinstance(shape[0], int) else (0,)


def _set_default(options: onnxruntime.SessionOptions, key: str, value: str) -> None:
    try:
        options.get_session_config_entry(key)
    except RuntimeError:  # the entry is not there
        options.add_session_config_entry(key, value)
