"""Writes docs/COVERAGE.md: how much of each model is converted, and what stays dense and why.

    python docs/coverage.py

The models are the graphs of tests/families, tests/exporters and tests/toys.py, and those of the corpus (a folder with
real models, named by the environment variable RRM_CORPUS, else ../shared/corpus beside the project) where there is one.
Each is converted, and runs a short video beside the original. tests/test_coverage.py compares the page with what
converting gives now.
"""

from __future__ import annotations

import importlib
import lzma
import os
import pathlib
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

from exporters import EXPORTS
from families import FAMILIES
from generate import join, table
from toys import TOYS
from videos import Feed, video

import rrm_onnx
from rrm_onnx import pipeline
from rrm_onnx.report import Dense, Report
from rrm_onnx.types import Options

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "COVERAGE.md"
HEAD = ("model", "MMACs", "inside", "regions", "borders", "fresh", "L2", "left dense")
FRAMES = 6  # of a clip
MOST = 3  # operators named for one reason
Sizes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Subject:
    """A model to be looked at; `sizes`: of its inputs, where it leaves them open; `clip`: frames of a real video."""

    name: str
    model: onnx.ModelProto
    sizes: Sizes
    clip: Sequence[Feed] = ()


def main() -> None:
    sections = []
    for title, subjects in chapters():
        rows = []
        for subject in subjects:
            rows.append((*facts(subject), *answers(subject)))
            print(*rows[-1], sep="  ", flush=True)
        sections += [title, table(HEAD, [(*row[:5], *row[6:], row[5]) for row in rows])]
    PAGE.write_text(page(sections), encoding="utf-8")


def page(sections: list[str]) -> str:
    return join(
        "# Coverage",
        "Written by `python docs/coverage.py`. The graphs of the tests are always there; the corpus of real models is"
        " not part of the project, and without it the page lists the graphs alone.",
        "MMACs: millions of multiply-accumulates of all convolutions for one picture. Inside: how many of them are in"
        " regions. Borders: tensors that enter regions, and that leave them. Fresh: whether, behind a short video, the"
        " last frame's outputs equal in every bit those of a fresh session. L2: no output of any frame is further from"
        " the original's in stock ONNX Runtime (relative L2); in networks with Sign (face-binary, xnor) rounding alone"
        " flips signs, and that moves the output. What is left dense is grouped by the code of its reason"
        " ([REFUSALS.md](REFUSALS.md)).",
        *sections,
    )


def chapters() -> Iterator[tuple[str, Iterator[Subject]]]:
    corpus = pathlib.Path(os.environ.get("RRM_CORPUS", ROOT.parent / "shared" / "corpus"))
    if corpus.is_dir():
        yield "## Real models", real_models(corpus)
    yield "## Graphs of the tests, as the networks of these families are built", families()
    yield "## Graphs of the tests, spelled as exporters spell them", exports()
    yield "## Other graphs of the tests", toys()


def real_models(corpus: pathlib.Path) -> Iterator[Subject]:
    """The models of a corpus: those that have a clip, with its first frames; the others with the sizes that ran."""
    sys.path.append(str(corpus))
    frames = importlib.import_module("frames")
    clips: dict[str, Any] = {}
    for pair in frames.pairs(corpus).values():
        clips.setdefault(pair["model"], pair | {"frames": FRAMES})
    sizes = {m["file"]: m["run_shapes"] for m in tomllib.loads((corpus / "odd.toml").read_text())["model"]}
    for path in sorted(p for folder in ("models", "odd") for p in (corpus / folder).glob("*.onnx*")):
        content = path.read_bytes()
        model = onnx.load_from_string(lzma.decompress(content) if path.suffix == ".xz" else content)
        name, title = f"{path.parent.name}/{path.name}", path.name.removesuffix(".xz").removesuffix(".onnx")
        if name in clips:
            feeds = list(frames.feeds(clips[name]))
            yield Subject(title, model, {k: v.shape for k, v in feeds[0].items()}, feeds)
        else:
            yield Subject(title, model, dict(map(size_of, sizes[name])))


def size_of(text: str) -> tuple[str, tuple[int, ...]]:
    """`name [1, 3, 8, 8]` -> its parts."""
    name, _, dims = text.rstrip("]").rpartition(" [")
    return name, tuple(int(d) for d in dims.split(",") if d.strip())


def families() -> Iterator[Subject]:
    for family in FAMILIES:
        yield Subject(family.name, family.build(), family.sizes[0])


def exports() -> Iterator[Subject]:
    for export in EXPORTS:
        yield Subject(export.name, export.build(), export.sizes[0])


def toys() -> Iterator[Subject]:
    for toy in TOYS:
        model = toy.build()
        batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
        yield Subject(toy.name, model, {"x": (batch, *toy.shape)})


# --- one model


def facts(subject: Subject) -> tuple[str, ...]:
    """What converting says: all columns but `fresh` and `L2`, the last one last."""
    report = examined(subject)
    total, inside = report.macs_total, report.macs_inside
    enters, exits = (sum(len(getattr(r, side)) for r in report.regions) for side in ("enters", "exits"))
    return (
        subject.name,
        "?" if total is None else f"{total / 1e6:.3g}" if total < 1e8 else f"{total / 1e6:.0f}",
        "?" if total is None or inside is None else "-" if not total else f"{100 * inside / total:.1f} %",
        str(len(report.regions)),
        f"{enters} in, {exits} out" if report.regions else "",
        reasons(report.dense),
    )


def examined(subject: Subject) -> Report:
    return pipeline.examine(subject.model, Options(input_shapes=subject.sizes))


def reasons(dense: Sequence[Dense]) -> str:
    """`code: 3 Add, 2 Reshape; ...`, the most frequent first."""
    counts: dict[str, dict[str, int]] = {}
    for d in dense:
        operators = counts.setdefault(d.code, {})
        operators[d.op_type] = operators.get(d.op_type, 0) + d.count
    texts = []
    for code, operators in sorted(counts.items(), key=lambda item: (-sum(item[1].values()), item[0])):
        ranked = sorted(operators.items(), key=lambda item: (-item[1], item[0]))
        named = [f"{count} {op}" for op, count in ranked[:MOST]]
        rest = sum(count for _, count in ranked[MOST:])
        texts.append(f"{code}: {', '.join([*named, f'{rest} others'] if rest else named)}")
    return "; ".join(texts)


def answers(subject: Subject) -> tuple[str, str]:
    """Columns `fresh` and `L2`: the model as it stands, its sizes still open, over a short video."""
    converted = pipeline.run(subject.model).model
    found = rrm_onnx.verify(subject.model, converted, subject.clip or video(subject.model, subject.sizes))
    worst = max(o.worst_error for o in found.outputs)
    bound = f"1e{int(np.ceil(np.log10(worst))):d}" if worst else "0"
    return "equal" if found.fresh_equal else "differs", bound


if __name__ == "__main__":
    main()
