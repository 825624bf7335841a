"""docs/COVERAGE.md says of each model what converting it gives now."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import sys
from types import ModuleType

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
pytest.importorskip("onnxruntime")


def load_script() -> ModuleType:
    sys.path.append(str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("coverage_page", ROOT / "docs" / "coverage.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()
LINES = (ROOT / "docs" / "COVERAGE.md").read_text(encoding="utf-8").splitlines()
ROWS = {row[0]: row for row in ([c.strip() for c in line.strip("|").split("|")] for line in LINES if "|" in line)}


def check(subject: object) -> None:
    row = ROWS[subject.name]
    assert (*row[:5], row[7]) == SCRIPT.facts(subject), "run: python docs/coverage.py"


@pytest.mark.parametrize("subject", [*SCRIPT.families(), *SCRIPT.exports(), *SCRIPT.toys()], ids=lambda s: s.name)
def test_graphs_of_the_tests(subject: object) -> None:
    check(subject)


def test_real_models(corpus: pathlib.Path) -> None:
    subjects = list(SCRIPT.real_models(corpus))
    assert len(subjects) > 30
    for subject in subjects:
        check(subject)


def test_no_model_answers_otherwise_than_a_fresh_session() -> None:
    assert {row[5] for row in ROWS.values()} <= {"fresh", "---", "equal"}


def test_no_model_is_further_from_the_original_than_promised() -> None:
    for name, row in ROWS.items():
        if re.match("1e", row[6]) and not re.search("binary|xnor", name):
            assert float(row[6]) <= 1e-4, name


def test_reasons_are_told_by_code() -> None:
    from rrm_onnx.report import Dense

    dense = [Dense(op, code, "", None, n, ()) for op, code, n in (("A", "x", 1), ("B", "y", 2), ("A", "x", 4))]
    assert SCRIPT.reasons(dense) == "x: 5 A; y: 2 B"
    many = [Dense(op, "x", "", None, n, ()) for n, op in enumerate("ABCDE")]
    assert SCRIPT.reasons(many) == "x: 4 E, 3 D, 2 C, 1 others"
