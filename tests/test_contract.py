"""What must agree across files: the lists of operators, and the direction of imports."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re

import pytest
from cases import CASES, OPS
from random_cases import RANDOM

from rrm_onnx.ops import reference_ops
from rrm_onnx.ops.reference_base import RrmOp
from rrm_onnx.ops.reference_math import ACTIVATIONS

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rrm_onnx"
TABLE = (ROOT / "custom_ops" / "kernels" / "table.h").read_text()


def defined() -> dict[str, pathlib.Path]:
    """Each operator with the module of its NumPy definition."""
    return {op.__name__: ROOT / (op.__module__.replace(".", "/") + ".py") for op in reference_ops()}


def in_library() -> list[str]:
    return re.findall(r"^RRM_OP\((\w+),", (ROOT / "custom_ops" / "api" / "ops.inc").read_text(), re.M)


def test_every_definition_is_listed() -> None:
    """An OpRun class that `reference_ops` forgets would never run."""
    for path in (PACKAGE / "ops").glob("*.py"):
        importlib.import_module(f"rrm_onnx.ops.{path.stem}")
    bases = {"StatefulOp", "SiteOp", "WindowOp", "Pool", "GlobalPool"}
    assert {op.__name__ for op in below(RrmOp)} - bases == set(defined())


def below(kind: type) -> list[type]:
    """All subclasses."""
    return [c for s in kind.__subclasses__() for c in (s, *below(s))]


def test_library_definitions_and_cases_have_the_same_operators() -> None:
    assert len(in_library()) == len(set(in_library()))
    assert set(in_library()) == set(defined())
    assert set(OPS) == set(defined())
    assert {c.op for c in CASES} == set(RANDOM) == set(defined()) - {"EnterStream"}


def test_library_and_package_use_the_same_stems() -> None:
    stems = {p.stem for p in (ROOT / "custom_ops" / "ops").glob("*.cc")}
    assert {p.stem for p in defined().values()} <= stems


def enum_names(enum: str) -> list[str]:
    body = re.search(rf"enum class {enum} .*?{{(.*?)}}", TABLE, re.S)
    assert body
    return re.findall(r"k(\w+)", body[1])


def test_activations_and_arithmetic_are_the_same() -> None:
    from rrm_onnx.ops.reference_math import ARITHMETIC

    assert set(enum_names("Act")) == set(ACTIVATIONS)
    assert {c.attributes["activation"] for c in CASES if c.op == "Activation"} == set(ACTIVATIONS) - {"None"}
    assert set(enum_names("BinaryOp")) == set(ARITHMETIC)
    assert {c.attributes["op"] for c in CASES if c.op == "Binary"} == set(ARITHMETIC)


# Who may import whom: top -> pipeline -> stages -> ops -> bottom, and no stage another one.
BOTTOM = {"errors", "types", "geometry", "common"}
STAGES = {"load", "normalise", "match", "partition", "fuse", "emit"}
TOP = {"cli", "bench", "demo", "doctor", "calibrate"}


def imports(path: pathlib.Path) -> set[str]:
    """First name below rrm_onnx of everything that a module imports, whenever it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rrm_onnx":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("rrm_onnx.")}
    return found


def modules(name: str) -> list[pathlib.Path]:
    path = PACKAGE / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@pytest.mark.parametrize("name", sorted(BOTTOM))
def test_the_bottom_imports_nothing_above(name: str) -> None:
    for path in modules(name):
        assert imports(path) <= BOTTOM, path


def test_operators_import_only_the_bottom() -> None:
    for path in modules("ops"):
        assert imports(path) <= BOTTOM | {"ops"}, path


@pytest.mark.parametrize("name", sorted(STAGES))
def test_stages_do_not_import_each_other(name: str) -> None:
    for path in modules(name):
        assert not imports(path) & (STAGES - {name}), path


def test_nothing_imports_what_stands_on_top() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part not in TOP | {"__main__"}:
            public = {"calibrate"} if part == "__init__" else set()
            assert not imports(path) & (TOP - public), path
        if part not in TOP | {"__init__", "__main__", "verify", "pipeline"}:
            assert "pipeline" not in imports(path), path
