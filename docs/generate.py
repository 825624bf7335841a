"""Writes the reference pages OPERATORS.md and REFUSALS.md beside this file, from what the package says of itself.

    python docs/generate.py

OPERATORS.md comes from the rules (rrm_onnx/ops/registry.py), the NumPy definitions (rrm_onnx.ops.reference_ops) and the
attributes (rrm_onnx/ops/attributes.py); REFUSALS.md from rrm_onnx/ops/codes.py and the sentences in the source.
tests/test_documents.py fails where a page is not what this script writes.
"""

from __future__ import annotations

import ast
import inspect
import pathlib
import textwrap
import typing
from collections.abc import Iterable, Iterator

from rrm_onnx.emit import DOMAIN, DOMAIN_VERSION
from rrm_onnx.ops import reference_ops
from rrm_onnx.ops.attributes import ATTRIBUTES
from rrm_onnx.ops.base import OpRule
from rrm_onnx.ops.codes import CODES
from rrm_onnx.ops.reference_base import RrmOp
from rrm_onnx.ops.reference_math import ACTIVATIONS, ARITHMETIC
from rrm_onnx.ops.registry import ALL

FOLDER = pathlib.Path(__file__).resolve().parent
PACKAGE = FOLDER.parent / "rrm_onnx"
WIDTH = 120
GATE = ("threshold", "scale")
NOTICE = "Written by `python docs/generate.py`: change the docstrings and tables that it reads, not this page."


def main() -> None:
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


def pages() -> dict[pathlib.Path, str]:
    """Every page with its text."""
    return {FOLDER / "OPERATORS.md": operators_page(), FOLDER / "REFUSALS.md": refusals_page()}


# --- operators


def operators_page() -> str:
    operators = reference_ops()
    return join(
        "# Operators",
        NOTICE,
        f"A converted model holds these operators of the domain `{DOMAIN}`, version {DOMAIN_VERSION}, beside those that"
        " stay as they are. What flows between them is a *ticket*: an int64 tensor in place of a feature map"
        " ([ARCHITECTURE.md](ARCHITECTURE.md) has the words). A feature map is float32, (N, C, H, W), with a known"
        " number of channels: that is the first limit of all of them. Why a node stays as it is:"
        " [REFUSALS.md](REFUSALS.md).",
        "In the file they are steps of `Region` nodes, one for all that lies between two parts which stay dense"
        " (`rrm_onnx/pack.py` says how they are written, and gives them back one by one); converted with `--flat`, each"
        " is a node of the graph.",
        "What a model spells in another way (BatchNormalization behind a convolution, HardSwish, GELU or"
        " LayerNormalization in several operators, means over height and width, shuffled channels, Transposes at the"
        " borders) is brought into these spellings first, by `rrm_onnx/normalise`. So is what works on the last axis of"
        " a map that is turned to NHWC: Softmax, LayerNormalization, ArgMax, and MatMul or Gemm with constants, which"
        " become 1x1 convolutions. The weights of a network in float16 are written as float32, in which the CPU"
        " computes them anyway; its inputs and outputs stay float16.",
        table(("ONNX operator", "becomes"), origins()),
        *(operator_section(op) for op in operators),
        "## Attributes",
        table(
            ("attribute", "type", "meaning", "of"),
            [
                (f"`{name}`", type_of(name, operators), meaning, ", ".join(o.__name__ for o in having(name, operators)))
                for name, meaning in ATTRIBUTES.items()
            ],
        ),
        f"Values of `activation`: {', '.join(ACTIVATIONS)}.",
        f"Values of `op`: {', '.join(ARITHMETIC)}.",
    )


def origins() -> list[tuple[str, str]]:
    """ONNX operators beside what they become, those that become the same in one row."""
    rows: dict[str, list[str]] = {}
    for rule in ALL:
        for op in rule.op_types:
            rows.setdefault(quoted(rule.becomes(op)), []).append(op)
    return [(quoted(ops), made) for made, ops in rows.items()]


def operator_section(op: type[RrmOp]) -> str:
    name = op.__name__
    rules = {t: rule for rule in ALL for t in rule.op_types if name in rule.becomes(t)}
    facts = [
        f"from: {quoted(rules)}" if rules else f"from: {op.origin}",
        f"inputs: {'; '.join(op.takes)}",
        f"output: {op.gives}",
        f"attributes: {quoted(attributes(op)) or 'none'}",
    ]
    distinct = list(dict.fromkeys(rules.values()))
    for rule in distinct:
        whose = "" if len(distinct) == 1 else f" of {quoted(rule.op_types)}"
        facts.append(f"limits{whose}: {limits(rule)}")
    return join(f"## {name}", *paragraphs(op), bullets(facts))


def limits(rule: OpRule) -> str:
    """What follows `Limits: ` in the docstring of a rule."""
    return next(p.removeprefix("Limits: ").rstrip(".") for p in paragraphs(type(rule)) if p.startswith("Limits: "))


def attributes(op: type[RrmOp]) -> dict[str, str]:
    """Name and ONNX type of each attribute: the annotated fields of the definition, and the gate where it has one."""
    found: dict[str, str] = {}
    for base in reversed(op.__mro__):
        for name, kind in inspect.get_annotations(base).items():
            text = str(kind)
            if issubclass(base, RrmOp) and "ClassVar" not in text and (name not in GATE or getattr(op, "gated", False)):
                found[name] = onnx_type(text)
    return dict(sorted(found.items(), key=lambda item: item[0] in GATE))  # the gate last


def onnx_type(annotation: str) -> str:
    plain = {"int": "int", "float": "float", "str": "string"}
    return plain.get(annotation) or next(f"{plain[k]}s" for k in plain if f"[{k}]" in annotation)


def having(name: str, operators: list[type[RrmOp]]) -> list[type[RrmOp]]:
    return [op for op in operators if name in attributes(op)]


def type_of(name: str, operators: list[type[RrmOp]]) -> str:
    (kind,) = {attributes(op)[name] for op in having(name, operators)}
    return kind


# --- refusals


def refusals_page() -> str:
    said: dict[str, list[str]] = {code: [] for code in CODES}
    for code, sentence in sentences():
        if sentence not in said[code]:
            said[code].append(sentence)
    return join(
        "# Refusals",
        NOTICE,
        "A node that cannot run on resident tensors, or does not pay there, stays as it is; the converted model runs"
        " all the same. `rrm-onnx inspect MODEL` and `rrm-onnx convert` list such nodes with the reason; `--json`, and"
        " the metadata `rrm.report` of the converted model, give it as `code`, `reason` and, where there is one,"
        " `hint`."
        " Codes are stable, sentences are not. What the operators accept: [OPERATORS.md](OPERATORS.md).",
        table(("code", "meaning", "what to do"), [(f"`{k}`", c.meaning, c.remedy) for k, c in CODES.items()]),
        "## Sentences",
        "What stands in a report; `…` is what differs from node to node.",
        *(join(f"### {code}", bullets(texts)) for code, texts in said.items()),
    )


def sentences() -> Iterator[tuple[str, str]]:
    """(code, sentence) of every refusal that the source gives, in the order of the files."""
    for path in [*sorted((PACKAGE / "ops").glob("*.py")), PACKAGE / "match.py", PACKAGE / "partition.py"]:
        nodes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.expr | ast.stmt)]
        for node in sorted(nodes, key=lambda n: (n.lineno, n.col_offset)):
            parts: list[ast.expr] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"Refused": 1, "Refusal": 3}.get(node.func.id, 0)
                parts = [node.args[0], node.args[place]] if place else []
            elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
                parts = node.value.elts
            code, text = (template(p) for p in parts) if len(parts) == 2 else (None, None)
            if code in CODES and text:
                yield code, text


def template(node: ast.expr) -> str | None:
    """A string of the source with its placeholders as `…`; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
    return None


# --- Markdown


def paragraphs(thing: type[typing.Any]) -> list[str]:
    """The docstring's paragraphs, each in one line."""
    return [" ".join(p.split()) for p in (inspect.cleandoc(thing.__doc__ or "")).split("\n\n")]


def join(*parts: str) -> str:
    """Blocks with a blank line between, prose wrapped."""
    return "\n\n".join(wrap(p) if p[0] not in "|-#" else p.rstrip("\n") for p in parts) + "\n"


def wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def bullets(lines: list[str]) -> str:
    return "\n".join(wrap(f"- {line}", "  ") for line in lines)


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    main()
