"""The built-in metrics read real models as the corpus' own reading of each task does: equal values on real frames."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_oracle import corpus_module

from rrm_onnx import yardstick
from rrm_onnx.calibrate.metrics import make

COUNT, STEP = 4, 5
# Name of a pair, and how its task is named here; fields of the pair that carry another name are filled in.
PAIRS = {
    "street": "yolox",
    "factory": "fastestdet",
    "bottles": "nanodet",
    "face": "ssd",
    "face-binary": "ssd",
    "squats": "keypoints:output={heat_map}",
    "flies-resting": "peaks",
    "dashcam": "mask",
    "dashcam-int8": "mask:output=0+1",
    "room-pose": "mask:output={mask_output}",
    "webcam": "mask",
    "screen-debugger": "probability_map",
    "bottles-pruned": "probabilities",
}


def metric_of(pair: dict[str, Any]) -> Any:
    spec = PAIRS[pair["name"]].format(**pair)
    given = {"threshold": pair["threshold"]} if "threshold" in pair else {}
    return make(spec, size=tuple(pair["size"]), **given)


@pytest.mark.parametrize("name", PAIRS)
def test_values_are_those_of_the_corpus(corpus: Path, name: str) -> None:
    pytest.importorskip("av")
    pytest.importorskip("scipy")
    frames = corpus_module(corpus, "frames")
    pair = frames.pairs(corpus)[name] | {"start": 0}  # to decode up to where some begin takes long
    session = yardstick.dense_session(yardstick.load(frames.model_of(pair)), 2)
    names = [o.name for o in session.get_outputs()]
    answers = [session.run(names, feed) for feed in itertools.islice(frames.feeds(pair), 0, COUNT * STEP, STEP)]
    rng = np.random.default_rng(0)
    noisy = [a * np.exp(0.2 * rng.standard_normal(a.shape, np.float32)) for a in answers[0]]  # no sign changes
    metric, reading = metric_of(pair), corpus_module(corpus, "metrics")
    metric.check(answers[0])
    seen = set()
    for got in [*answers, noisy]:
        expected = reading.agreement(pair, answers[0], got)
        assert metric(answers[0], got) == pytest.approx(expected, abs=1e-6)
        seen.add(round(expected, 4))
    assert 1.0 in seen and len(seen) > 1, "frames that are all alike show nothing"
