"""The last look at a converted model: what is wrong with it is a bug, and said in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import onnx
import pytest
from models import Net, chain, dense_ops, rrm_nodes
from onnx import TensorProto, helper

from rrm_onnx import emit, pipeline
from rrm_onnx.cli import main
from rrm_onnx.errors import ConvertError, InternalError
from rrm_onnx.types import Decision, Match

Change = Callable[[onnx.GraphProto], None]


def make_twice(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Neg", ["x"], [graph.node[0].output[0]], name="again"))


def swap(graph: onnx.GraphProto) -> None:
    first, second = graph.node[0], graph.node[1]
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in (second, first, *graph.node[2:])]
    del graph.node[:]
    graph.node.extend(nodes)


def rename(graph: onnx.GraphProto) -> None:
    graph.node[1].name = graph.node[0].name


def lose_the_output(graph: onnx.GraphProto) -> None:
    graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))


def unknown_attribute(graph: onnx.GraphProto) -> None:
    graph.node[0].attribute.append(helper.make_attribute("colour", 1))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (make_twice, "'a' is made twice, the second time by 'again'"),
        (swap, "'a' is read by 'second' before it is made"),
        (rename, "two nodes are named 'first'"),
        (lose_the_output, "the output 'z' is never made"),
        (unknown_attribute, "Unrecognized attribute: colour"),
    ],
)
def test_inconsistent_models(change: Change, text: str) -> None:
    net = Net()
    net.output(net.add("Relu", net.add("Relu", net.input(), out="a", name="first"), out="y", name="second"))
    model = net.model()
    emit.check(model)
    change(model.graph)
    with pytest.raises(InternalError) as caught:
        emit.check(model)
    assert caught.value.message.startswith("the converter made an inconsistent model, which is a bug: ")
    assert text in caught.value.message and "\n" not in caught.value.message
    assert "report it" in (caught.value.hint or "") and "--skip" not in (caught.value.hint or "")


def test_a_model_that_is_too_large_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(model: onnx.ModelProto) -> None:
        raise ValueError("This protobuf of onnx model is too large (>2GB).")

    monkeypatch.setattr(emit, "check_content", too_large)
    with pytest.raises(ConvertError, match="too large") as caught:
        pipeline.convert(chain("Relu"))
    assert "2 GiB" in (caught.value.hint or "")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule of `conv a` reads a tensor that is made later."""
    right = pipeline.match

    def wrong(*arguments: Any) -> dict[str, Decision]:
        decisions = right(*arguments)
        found = decisions["conv a"]
        if isinstance(found, Match):
            decisions["conv a"] = replace(found, emits=(replace(found.emits[0], inputs=("y",)),))
        return decisions

    monkeypatch.setattr(pipeline, "match", wrong)


def two_convolutions() -> onnx.ModelProto:
    net = Net()
    net.output(net.conv(net.conv(net.input(), 16, k=7, name="conv a"), 4, 16, k=7, name="conv b", out="y"))
    return net.model()


def test_a_faulty_rule_is_named_and_can_be_skipped(faulty: None) -> None:
    with pytest.raises(InternalError, match="is read by 'conv a' before it is made") as caught:
        pipeline.convert(two_convolutions())
    assert caught.value.node == "conv a" and "--skip 'conv a' gets around it" in (caught.value.hint or "")
    converted = pipeline.convert(two_convolutions(), skip=["conv a"])
    assert [n.name for n in rrm_nodes(converted, "Conv")] == ["conv b"] and dense_ops(converted) == ["Conv"]


def test_the_command_line_shows_no_traceback(faulty: None, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(two_convolutions(), tmp_path / "m.onnx")
    assert main(["convert", str(tmp_path / "m.onnx")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: the converter made") and "\n\nhint: report it" in err
    assert main(["convert", str(tmp_path / "m.onnx"), "--skip", "conv a"]) == 0
