"""onnxruntime's InferenceSession with the library registered: imported on first use, for it needs onnxruntime."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rrm_onnx import runtime
from rrm_onnx.errors import RrmError

if TYPE_CHECKING:
    import onnxruntime
else:
    onnxruntime = runtime.import_onnxruntime()

ONCE = "use rrm_onnx.register(options) in place of options.register_custom_ops_library(...), or neither"
# A worker that spins between two frames burns the time that was saved.
SPINNING = ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning")


class InferenceSession(onnxruntime.InferenceSession):  # type: ignore[misc]
    """A session of a converted model: as onnxruntime's, with the same arguments, plus `stats`, `reset_stats`, `reset`.

    The library is registered in `sess_options` (fresh ones when None), and the thread pool's spinning is turned off
    there unless the options say otherwise (`add_session_config_entry("session.intra_op.allow_spinning", "1")`).

    Sessions made with the same `sess_options` share one group: `stats` reports and `reset` touches all of them.
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: onnxruntime.SessionOptions | None = None,
        providers: Any = None,
        provider_options: Any = None,
        **kwargs: Any,
    ) -> None:
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

    def stats(self) -> dict[str, Any]:
        """What the nodes did since the session was made or `reset_stats` was called.

        {"nodes": [{"name", "op", "streams", "runs", "keyframes", "sites", "active", "changed", "macs_dense",
        "macs_done", "macs_added", "swept_bytes", "ns", "state_bytes", "output_bytes", "weight_bytes", "threshold",
        "scale", "measured_scale", "inner_measured_scale", "phases"}, ...]}, in the order of the graph.

        `runs`, `keyframes` and `ns` (nanoseconds) sum over all runs; sites and multiply-accumulates only over those
        that were no keyframes, so that `macs_done / macs_dense` is the share of the work that is left; `macs_added`
        are those of `macs_done` that added changes to kept sums. `swept_bytes` were read or written whatever changed:
        pictures compared, outputs copied, a bit a site cleared and searched. `phases`: see `time_phases`.
        `state_bytes` is held now, `output_bytes` of it in the rows of layers; `weight_bytes` is a convolution's own
        copy of its weights. `measured_scale`: the size (RMS) of a stream's first map, which stands in for a `scale` of
        0; `inner_...`: of the gate between the two convolutions of one node.
        """
        return runtime.query(f"stats {self._rrm_group}")

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

    def reset(self) -> None:
        """Forget all frames: the next run of every stream computes everything, as in a fresh session."""
        runtime.query(f"reset {self._rrm_group}")


def _set_default(options: onnxruntime.SessionOptions, key: str, value: str) -> None:
    try:
        options.get_session_config_entry(key)
    except RuntimeError:  # the entry is not there
        options.add_session_config_entry(key, value)
