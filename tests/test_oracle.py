"""Under a tolerance the converted model shows the values of the corpus' gated graph (ideal.py), an independent oracle.

ideal.py builds the same gates from standard ONNX operators: behind the picture and behind the activated output of every
convolution, held = Where(RMS over channels(x - held) > tolerance * scale, x, held), scale = RMS on the first frame.
Values agree within float rounding. A site whose change lies within rounding of the limit may pass in one and not in
the other; so the bulk is compared tightly, and the whole more loosely.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import rrm_onnx


def corpus_module(corpus: Path, name: str) -> Any:
    """A module of the corpus, imported from where it lies: first on the path, for onnxruntime.quantization puts one
    there that has `metrics` as well."""
    if sys.path[0] != str(corpus):
        sys.path.insert(0, str(corpus))
    return importlib.import_module(name)


def gated_outputs(study: Any, tolerance: float) -> list[list[np.ndarray]]:
    """Outputs of ideal.py's gated graph, frame by frame."""
    limits = {
        f"limit/{k}": np.array((tolerance * study.scale[p]) ** 2 if tolerance > 0 else -1.0, np.float32)
        for k, p in enumerate(study.points)
    }
    held = {f"held/{k}": np.array(study.first[p]) for k, p in enumerate(study.points)}
    want = [f"held_out/{k}" for k in range(len(study.points))] + list(study.shown.values())
    want = list(dict.fromkeys(want))
    shown = []
    for feed in study.frames:
        got = dict(zip(want, study.gate.run(want, feed | held | limits), strict=True))
        held = {f"held/{k}": got[f"held_out/{k}"] for k in range(len(study.points))}
        shown.append([got[study.shown[o]] for o in study.outputs])
    return shown


@pytest.mark.parametrize(
    ("pair", "frames", "tolerance"),
    [
        *(("flies-resting", 4, tolerance) for tolerance in (0.02, 0.05)),
        *(("street", 5, tolerance) for tolerance in (0.02, 0.05)),
        ("squats", 6, 0.05),
    ],
)
def test_values_are_those_of_the_gated_graph(corpus: Path, pair: str, frames: int, tolerance: float) -> None:
    ideal = corpus_module(corpus, "ideal")
    known = corpus_module(corpus, "frames").pairs(corpus)[pair]
    study = ideal.Study(known, frames)
    model = corpus_module(corpus, "frames").model_of(known)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = rrm_onnx.InferenceSession(
        rrm_onnx.convert(model, tolerance=tolerance).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    changed = False
    rounding: dict[str, float] = {}
    for t, (feed, truth) in enumerate(itertools.zip_longest(study.frames, gated_outputs(study, tolerance))):
        got = session.run(study.outputs, feed)
        for name, a, b in zip(study.outputs, got, truth, strict=True):
            scale = float(np.sqrt(np.mean(np.square(b, dtype=np.float64)))) + 1e-12
            error = np.abs(a.astype(np.float64) - b) / scale
            bulk = float(np.quantile(error, 0.9))
            if t == 0:  # nothing is held yet: what rounding alone does on this model
                rounding[name] = bulk
            assert bulk <= max(1e-4, 3 * rounding[name]), (t, name)
            assert float(np.sqrt(np.mean(error**2))) <= 5e-3, (t, name)
        dense = study.truth[t]
        changed = changed or any(ideal.relative(a, b) > 1e-4 for a, b in zip(got, dense, strict=True))
    assert changed, "the gates held nothing back: the test would pass without them"
