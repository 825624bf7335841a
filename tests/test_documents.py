"""The generated pages are what the script writes, and what it reads is true."""

from __future__ import annotations

import importlib.util
import pathlib
import re
from types import ModuleType

import numpy as np
import pytest
from cases import CASES
from decisions import Build, accepted
from models import Net

from rrm_onnx.ops import reference_ops
from rrm_onnx.ops.attributes import ATTRIBUTES
from rrm_onnx.ops.codes import CODES
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN
from rrm_onnx.ops.enter_exit import enter, leave
from rrm_onnx.ops.registry import ALL, RULES

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPERATORS = {op.__name__: op for op in reference_ops()}


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


@pytest.mark.parametrize("path", SCRIPT.pages(), ids=lambda p: p.name)
def test_pages_are_what_the_script_writes(path: pathlib.Path) -> None:
    assert path.read_text(encoding="utf-8") == SCRIPT.pages()[path], "run: python docs/generate.py"


def test_every_attribute_has_a_meaning() -> None:
    assert {a for op in OPERATORS.values() for a in SCRIPT.attributes(op)} == set(ATTRIBUTES)


def test_attributes_are_those_of_the_cases() -> None:
    for case in CASES:
        if case.op not in ("Enter", "Exit"):
            written = {a for a in SCRIPT.attributes(OPERATORS[case.op]) if a.removeprefix("inner_") not in SCRIPT.GATE}
            assert set(case.attributes) == written, case.op


def test_only_borders_are_made_of_no_node() -> None:
    made = {name for rule in SCRIPT.ALL for op in rule.op_types for name in rule.becomes(op)}
    border = {name for name, op in OPERATORS.items() if name not in made and op.origin.startswith("no node")}
    assert border == {"Enter", "EnterStream", "Exit"}


def test_inputs_and_outputs_are_those_of_the_library() -> None:
    rows = re.findall(r"^RRM_OP\((\w+), \w+, \"(\w+)\", '(\w)'\)", (ROOT / "custom_ops/api/ops.inc").read_text(), re.M)
    kinds = {
        "t": r"ticket( of the addend)?$",
        "v": r"ticket, any number",
        "x": r".*float32 or uint8",
        "f": r".*float32",
        "i": r".*int64",
    }
    kinds["b"] = r".*bool"
    assert {name for name, _, _ in rows} == set(OPERATORS)
    for name, inputs, output in rows:
        words = [*OPERATORS[name].takes, OPERATORS[name].gives]
        assert len(words) == len(inputs) + 1, name
        for letter, text in zip((*inputs, output), words, strict=True):
            assert re.match(kinds[letter], text), (name, text)


@pytest.mark.parametrize("rule", ALL, ids=lambda r: type(r).__name__)
def test_every_rule_says_its_limits(rule: object) -> None:
    assert SCRIPT.limits(rule)


def test_every_code_has_a_sentence() -> None:
    assert {code for code, _ in SCRIPT.sentences()} == set(CODES)
    assert all(c.meaning and c.remedy for c in CODES.values())


# What a rule makes: an example for each operator, and for each thing that it may become.

MAP = (1, 8, 6, 6)
UNARY = [op for op in (*RULES["Relu"].op_types, "GlobalAveragePool", "GlobalMaxPool", "Shape") if op != "PRelu"]
BINARY = RULES["Add"].op_types


def with_map(op: str, *constants: object, dtype: type = np.float32, **attributes: object) -> Build:
    def build(net: Net) -> str:
        rest = [net.const(c, dtype) for c in constants]
        return net.add(op, net.input(shape=MAP), *rest, name="it", **attributes)

    return build


def of_two_maps(op: str, **attributes: object) -> Build:
    return lambda net: net.add(op, net.input("a", MAP), net.input("b", MAP), name="it", **attributes)


def to_the_size_of_another(net: Net) -> str:
    x, like = net.input("a", ("n", 8, "h", "w")), net.input("b", ("n", 3, "h2", "w2"))
    both = ((x, 0, 2), (like, 2, 4))
    ends = [net.add("Slice", net.add("Shape", t), *(net.const([v], np.int64) for v in e)) for t, *e in both]
    return net.add("Resize", x, "", "", net.add("Concat", *ends, axis=0), name="it")


def in_the_middle_of_another(net: Net) -> str:
    x, like = net.input("a", ("n", 8, "h", "w")), net.input("b", ("n", 3, "h2", "w2"))
    missing = net.add("Sub", net.add("Shape", like, start=2), net.add("Shape", x, start=2))
    before = net.add("Div", missing, net.const(2, np.int64))
    none = net.const([0, 0], np.int64)
    return net.add("Pad", x, net.add("Concat", none, before, none, net.add("Sub", missing, before), axis=0), name="it")


def shuffled(net: Net) -> str:
    x = net.input("x", ("n", 8, "h", "w"))
    n, h, w = (
        net.add("Slice", net.add("Shape", x), net.const([k], np.int64), net.const([k + 1], np.int64)) for k in (0, 2, 3)
    )
    two, half, whole = (net.const([k], np.int64) for k in (2, 4, 8))
    y = net.add("Reshape", x, net.add("Concat", n, two, half, h, w, axis=0))
    y = net.add("Transpose", y, perm=[0, 2, 1, 3, 4])
    return net.add("Reshape", y, net.add("Concat", n, whole, h, w, axis=0), name="it")


def halves_in_turn(net: Net) -> str:
    turned = net.const(np.roll(np.arange(64), 32), np.int64)
    return net.add("Gather", net.input(shape=(1, 64, 6, 6)), turned, axis=1, name="it")


EXAMPLES: list[tuple[str, str, Build]] = [
    *((op, "MapShape" if op == "Shape" else op if "Pool" in op else "Activation", with_map(op)) for op in UNARY),
    *((op, "Binary", of_two_maps(op)) for op in BINARY),
    *((op, "BinaryConst", with_map(op, 2.0)) for op in BINARY),
    ("PRelu", "Activation", with_map("PRelu", [0.1])),
    ("Conv", "Conv", lambda net: net.conv(net.input(), name="it")),
    ("ConvTranspose", "ConvTranspose", with_map("ConvTranspose", np.ones((8, 4, 2, 2)))),
    ("Concat", "Concat", of_two_maps("Concat", axis=1)),
    ("Slice", "Slice", with_map("Slice", [2], [5], [1], dtype=np.int64)),
    ("Slice", "Pad", with_map("Slice", [1], [5], [2], dtype=np.int64)),
    ("Split", "Slice", lambda net: net.add("Split", net.input(shape=MAP), outputs=["a", "b"], axis=1, name="it")),
    ("Gather", "Slice", with_map("Gather", [2, 3], dtype=np.int64, axis=1)),
    ("Gather", "ChannelRanges", halves_in_turn),
    ("Gather", "ChannelGather", with_map("Gather", [3, 2], dtype=np.int64, axis=1)),
    *((op, op, with_map(op, kernel_shape=[2, 2])) for op in ("MaxPool", "AveragePool")),
    *((op, "Softmax", with_map(op, axis=1)) for op in ("Softmax", "LogSoftmax")),
    (
        "LayerNormalization",
        "LayerNormalization",
        with_map("LayerNormalization", np.ones(8), axis=1, domain=COMPOSITE_DOMAIN),
    ),
    *(
        (norm, op, with_map(norm, np.ones(8), np.zeros(8), num_groups=2))
        for norm in ("InstanceNormalization", "GroupNormalization")
        for op in ("GlobalAveragePool", "Conv", "Binary", "BinaryConst")
    ),
    ("LRN", "LRN", with_map("LRN", size=5)),
    ("ArgMax", "ArgMax", with_map("ArgMax", domain=COMPOSITE_DOMAIN)),
    ("Resize", "Resize", lambda n: n.add("Resize", n.input(shape=MAP), "", n.const([1, 1, 2, 2]), name="it")),
    ("Upsample", "Resize", with_map("Upsample", [1, 1, 2, 2])),
    ("Resize", "ResizeLike", to_the_size_of_another),
    *((op, op, with_map(op, blocksize=2)) for op in ("SpaceToDepth", "DepthToSpace")),
    *((op, "ChannelReduce", with_map(op, axes=[1])) for op in ("ReduceMean", "ReduceL2", "ReduceMax")),
    ("ReduceSum", "ChannelReduce", with_map("ReduceSum", [1], dtype=np.int64)),
    ("Reshape", "ChannelGather", shuffled),
    ("Pad", "PadLike", in_the_middle_of_another),
    ("Pad", "Pad", with_map("Pad", [0, 0, 1, 1, 0, 0, 1, 1], dtype=np.int64)),
]


@pytest.mark.parametrize(("op", "made", "build"), EXAMPLES, ids=[f"{op}-{made}" for op, made, _ in EXAMPLES])
def test_what_an_operator_becomes(op: str, made: str, build: Build) -> None:
    """The emitted node is the one that the page names, with all of its attributes."""
    found, _ = accepted(build)
    assert found.op_type == op
    assert made in {n.op for n in found.emits}
    for node in found.emits:
        assert set(node.attributes) == set(SCRIPT.attributes(OPERATORS[node.op]))
        assert node.dense == (OPERATORS[node.op].gives != "ticket")


def test_every_origin_has_an_example() -> None:
    assert {(op, m) for rule in ALL for op in rule.op_types for m in rule.becomes(op)} == {e[:2] for e in EXAMPLES}


def test_borders_have_the_attributes_of_the_page() -> None:
    for node in (enter("x", "t", False, False), enter("x", "t", True, True), leave("x", "t", False)):
        assert set(node.attributes) == set(SCRIPT.attributes(OPERATORS[node.op]))
