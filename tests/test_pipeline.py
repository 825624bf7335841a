"""The stages put together: each runs once, whatever is asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import onnx
import pytest
from models import Net, chain

from rrm_onnx import pipeline
from rrm_onnx.types import Options

STAGES = ("load", "normalise", "match", "partition", "emit", "report")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each stage ran."""
    counted: Counter[str] = Counter()

    def counting(name: str, stage: Any) -> Any:
        def run(*arguments: Any) -> Any:
            counted[name] += 1
            return stage(*arguments)

        return run

    for name in STAGES:
        monkeypatch.setattr(pipeline, name, counting(name, getattr(pipeline, name)))
    return counted


def nothing_to_convert() -> onnx.ModelProto:
    net = Net()
    net.output(net.add("Round", net.input(), out="y"))
    return net.model()


def test_every_stage_runs_once(calls: Counter[str]) -> None:
    pipeline.run(chain("Relu"))
    assert calls == dict.fromkeys(STAGES, 1)


def test_looking_runs_every_stage_once_too(calls: Counter[str]) -> None:
    pipeline.examine(chain("Relu"))
    assert calls == dict.fromkeys(STAGES, 1)


def test_looking_where_there_is_nothing_to_convert(calls: Counter[str]) -> None:
    found = pipeline.examine(nothing_to_convert())
    assert calls == dict.fromkeys(STAGES, 1)
    assert found.unchanged and found.regions == () and [d.op_type for d in found.dense] == ["Round"]


def test_looking_says_what_converting_says() -> None:
    options = Options(tolerance=0.1, streams=True)
    assert pipeline.examine(chain("Relu"), options) == pipeline.run(chain("Relu"), options).report
