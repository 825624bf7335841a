"""What a calibration gives: thresholds as `convert` takes them, and how they were found."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm_onnx.calibrate.curve import Entry
from rrm_onnx.calibrate.points import Point, Setting, figure
from rrm_onnx.common import replace_file
from rrm_onnx.thresholds import FORMAT, VERSION


@dataclass(frozen=True)
class Thresholds:
    """A threshold and a scale for each gate, and what is known of them.

    points, setting, scales, sensitivity: in the order of the graph; sensitivity is the loss that doubling the
    thresholds of the point's group added. digest: SHA-256 of the model. facts: metric, budget, losses, costs, clips,
    version, as the file has them under "calibration". curve: the alternatives, on frames that the search had not seen.
    """

    points: Sequence[Point]
    setting: Setting
    scales: Sequence[float]
    sensitivity: Sequence[float]
    digest: str
    facts: Mapping[str, Any]
    curve: Sequence[Entry] = ()

    @property
    def exact(self) -> bool:
        """True where no threshold kept to the budget with a gain."""
        return not any(self.setting.thresholds)

    def to_dict(self) -> dict[str, Any]:
        """The content of a thresholds file."""
        rows = zip(self.points, self.setting.thresholds, self.scales, self.sensitivity, strict=True)
        nodes = {p.name: {"threshold": figure(t), "scale": figure(s), "sensitivity": figure(e)} for p, t, s, e in rows}
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.digest,
            "tolerance": 0.0,
            "drift": self.setting.drift,
            "period": self.setting.period,
            "calibration": {**self.facts, "curve": [entry.to_dict() for entry in self.curve]},
            "nodes": nodes,
        }

    def to_json(self) -> str:
        """A thresholds file, to be read by people too."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file; an existing one is replaced when all is written. Raises OSError."""
        replace_file(pathlib.Path(path), self.to_json().encode())
