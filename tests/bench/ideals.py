"""What the corpus' ideal.py counts, kept in a file between runs: it is slow."""

from __future__ import annotations

import importlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

MOST = 20.0  # beyond this factor other costs than multiply-accumulates rule, and the ideal says nothing


class Ideals:
    """Shares of multiply-accumulates by pair, tolerance and number of frames.

    path: JSON file to read and to add to, or None. count: whether to count what the file does not have.
    """

    def __init__(self, path: pathlib.Path | None, count: bool, threads: int) -> None:
        self.path, self.count, self.threads = path, count, threads
        self.known: dict[str, dict[str, float]] = {}
        if path is not None and path.exists():
            self.known = json.loads(path.read_text())

    def of(self, pair: dict[str, Any], tolerances: Sequence[float]) -> dict[float, dict[str, float]]:
        """By tolerance: shares with the recompute and the residual kernel and with the better of both in each layer and
        frame (`best`), error and agreement. Without those that are neither known nor to be counted."""
        missing = [t for t in tolerances if key(pair, t) not in self.known]
        if missing and self.count:
            study = importlib.import_module("ideal").Study(pair, threads=self.threads)
            for tolerance in missing:
                self.known[key(pair, tolerance)] = study.run(tolerance)
                if self.path is not None:
                    self.path.write_text(json.dumps(self.known, indent=2) + "\n")
        return {t: self.known[key(pair, t)] for t in tolerances if key(pair, t) in self.known}


def key(pair: dict[str, Any], tolerance: float) -> str:
    return f"{pair['name']}, tolerance {tolerance:g}, {pair['frames']} frames"


def reached(ratio: float, best: float) -> float:
    """The speed-up as a share of the ideal one, which counts for at most MOST."""
    return ratio / (min(MOST, 1 / best) if best > 0 else MOST)
