"""Which threshold and scale every gate gets: from `tolerance`, and from a thresholds file.

File (JSON): {"format": "rrm-thresholds", "version": 1, "model": sha256 or null, "tolerance": float, "drift": float,
"period": int, "nodes": {NAME: {"threshold": t, "scale": s}}}. `tolerance` of the file is the threshold of the gates
that `nodes` does not list; an explicit `tolerance` argument takes its place, and leaves the listed ones alone. In every
`period`-th frame all thresholds are multiplied by `drift` (1 and 1 where they are not there: the same in all). Further
keys are for the reader.
"""

from __future__ import annotations

import json
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rrm_onnx.common import did_you_mean
from rrm_onnx.errors import ThresholdsError
from rrm_onnx.types import Gate

FORMAT, VERSION = "rrm-thresholds", 1
LONGEST = 1_000_000  # frames of a period


@dataclass(frozen=True)
class Gates:
    """The gate of every node: its own entry, or the default threshold with the scale of the first keyframe. drift: the
    factor on all thresholds in every `period`-th frame."""

    default: float = 0.0
    nodes: Mapping[str, Gate] = field(default_factory=dict)
    drift: float = 1.0
    period: int = 1

    def of(self, node: str) -> Gate:
        return self.nodes.get(node, Gate(self.default))

    def check_names(self, known: set[str]) -> None:
        """Raise ThresholdsError for an entry whose node does not exist; `known`: names that may be gated."""
        for name in self.nodes:
            if name not in known:
                raise ThresholdsError(
                    f"thresholds: no node is named '{name}'", hint=did_you_mean(name, known), node=name
                )


def gates(tolerance: float | None, thresholds: str | os.PathLike[str] | Mapping[str, Any] | None, source: str) -> Gates:
    """The gates that the user asked for. `source`: SHA-256 of the model (common.source_hash)."""
    if tolerance is not None:
        tolerance = limit(tolerance, "tolerance")
    if thresholds is None:
        return Gates(tolerance or 0.0)
    data = thresholds if isinstance(thresholds, Mapping) else read(Path(thresholds))
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        hint = f'the file must say "format": "{FORMAT}" and "version": {VERSION}'
        raise ThresholdsError("not a thresholds file, or one of another version", hint=hint)
    model = data.get("model")
    if model is not None and model != source:
        hint = 'calibrate again for this model, or set "model" to null to use the file all the same'
        raise ThresholdsError("the thresholds were made for another model", hint=hint)
    nodes = data.get("nodes", {})
    if not isinstance(nodes, Mapping):
        raise ThresholdsError('thresholds: "nodes" is not an object of node names')
    listed = {str(name): entry(str(name), value) for name, value in nodes.items()}
    default = tolerance if tolerance is not None else limit(data.get("tolerance", 0.0), "thresholds: tolerance")
    drift = limit(data.get("drift", 1.0), "thresholds: drift")
    period = data.get("period", 1)
    if drift > 1 or isinstance(period, bool) or not isinstance(period, int) or not 1 <= period <= LONGEST:
        hint = f"drift is a number from 0 to 1, period a whole number from 1 to {LONGEST}"
        raise ThresholdsError(f"thresholds: drift {drift:g} and period {period} do not fit", hint=hint)
    return Gates(default, listed, drift, period)


def read(path: Path) -> Mapping[str, Any]:
    """A JSON object from a file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ThresholdsError(f"{path}: cannot be read: {e.strerror}", hint="check the path") from e
    except ValueError as e:
        raise ThresholdsError(f"{path}: is not JSON: {e}") from e
    if not isinstance(data, dict):
        raise ThresholdsError(f"{path}: is not a JSON object")
    return data


def entry(name: str, value: Any) -> Gate:
    """One entry of "nodes"."""
    if not isinstance(value, Mapping) or "threshold" not in value:
        raise ThresholdsError(f"thresholds: '{name}' has no \"threshold\"", node=name)
    threshold = limit(value["threshold"], f"thresholds: threshold of '{name}'")
    return Gate(threshold, limit(value.get("scale", 0.0), f"thresholds: scale of '{name}'"))


def limit(value: Any, what: str) -> float:
    """A finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ThresholdsError(f"{what} is not a number: {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ThresholdsError(f"{what} is {value}", hint="use 0 for exact, or a small positive number such as 0.02")
    return float(value)
