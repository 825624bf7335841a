"""Operators over the last axis of a map turned to NHWC become operators over its channels."""

from __future__ import annotations

import pytest
from models import Net
from normalised import between, same_function

import rrm_onnx.normalise

TO_NHWC, TO_NCHW, TO_NWHC = [0, 2, 3, 1], [0, 3, 1, 2], [0, 3, 2, 1]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("perms", [(TO_NHWC, TO_NCHW), (TO_NWHC, TO_NWHC)])
def test_softmax_between_transposes(op: str, opset: int, perms: tuple[list[int], list[int]]) -> None:
    def build(n: Net, x: str) -> str:
        return n.add("Transpose", n.add(op, n.add("Transpose", x, perm=perms[0]), axis=3), perm=perms[1])

    assert same_function(between(build, opset)) == {"Conv": 2, op: 1}


@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_before_the_end(opset: int) -> None:
    """The Transpose goes to the output, where an Exit takes it in."""
    net = Net(opset)
    t = net.add("Transpose", net.conv(net.input(), 8), perm=TO_NHWC)
    net.output(net.add("Softmax", t, axis=3, out="y"))
    model = net.model()
    assert same_function(model) == {"Conv": 1, "Softmax": 1, "Transpose": 1}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime's simplification, which moves Transposes itself."""
    monkeypatch.setattr(rrm_onnx.normalise, "fold", lambda model: model)


@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (11, 2), (13, 1), (13, 2)])
def test_softmax_over_other_axes_stays(alone: None, opset: int, axis: int) -> None:
    def build(n: Net, x: str) -> str:
        t = n.add("Softmax", n.add("Transpose", x, perm=TO_NHWC), axis=axis)
        return n.add("Transpose", t, perm=TO_NCHW)

    assert same_function(between(build, opset))["Transpose"] == 2


def test_softmax_of_a_map_turned_for_good_stays(alone: None) -> None:
    """Nothing would be gained: where the Transpose is left, the Softmax before it may as well stay behind it."""
    net = Net()
    t = net.add("Transpose", net.conv(net.input(), 8), perm=TO_NWHC)
    net.output(net.add("Transpose", net.add("Softmax", t, axis=3), perm=TO_NHWC, out="y"))
    assert same_function(net.model())["Transpose"] == 2
