"""`rrm-onnx inspect` and `rrm-onnx doctor`: look, change nothing."""

from __future__ import annotations

import collections
import json
import pathlib
from typing import Any

import click
import onnx

from rrm_onnx import doctor, yardstick
from rrm_onnx.cli import shell
from rrm_onnx.cli.options import ModelPath, input_shape_option, json_option, shape_words
from rrm_onnx.cli.report import show_globals, show_regions, show_report
from rrm_onnx.load import is_converted
from rrm_onnx.pack import nodes_of


@click.command("inspect", short_help="Show what would convert, or what a converted model holds.")
@click.argument("model", type=ModelPath)
@input_shape_option
@json_option
def inspect_command(model: pathlib.Path, shapes: dict[str, tuple[int, ...]] | None, as_json: bool) -> int:
    """Show what would convert and what would stay as it is, with the reason; or what a converted model holds."""
    loaded = yardstick.load(model)
    ports = {"inputs": _ports(loaded, loaded.graph.input), "outputs": _ports(loaded, loaded.graph.output)}
    shell.table(model.name, ("", "name", "type", "shape"), [(k[:-1], *p.values()) for k, v in ports.items() for p in v])
    if is_converted(loaded):
        found = _converted(loaded)
        if found["operators"]:
            shell.table("rrm operators", ("operator", "count"), list(found["operators"].items()))
        _show_gates(found["gates"])
        if report := found["report"]:
            show_report("how it was converted", report)
            show_regions(report["regions"])
            show_globals(report.get("globals", []))
        shell.next_command("rrm-onnx", "verify", placeholder=f"ORIGINAL {model} --clip CLIP")
    else:
        found = _original(model, shapes)
        show_report("what would be converted", found["report"])
        show_regions(found["report"]["regions"])
        show_globals(found["report"]["globals"])
        if found["report"]["regions"]:
            shell.next_command("rrm-onnx", "convert", model, *shape_words(shapes))
    if as_json:
        shell.data({"model": str(model), **ports, **found})
    return shell.OK


def _show_gates(gates: list[dict[str, Any]]) -> None:
    """One line where all gates are alike, else a table; and what turns the thresholds have."""
    for drift, period in {(g["drift"], g["period"]) for g in gates if g.get("period", 1) > 1}:
        shell.note(f"in one frame of {period} all thresholds are multiplied by {drift:g}")
    kinds = {(g["threshold"], g["scale"]) for g in gates}
    if len(kinds) == 1:
        threshold = next(iter(kinds))[0]
        shell.note(
            f"{len(gates)} gates, all with threshold {threshold:g}" if threshold else f"{len(gates)} gates, exact"
        )
    elif kinds:
        rows = [(g["node"], f"{g['threshold']:g}", f"{g['scale']:g}") for g in gates]
        shell.table("gates", ("node", "threshold", "scale (0: the first frame's)"), rows)


def _original(model: pathlib.Path, shapes: dict[str, tuple[int, ...]] | None) -> dict[str, Any]:
    from rrm_onnx import pipeline
    from rrm_onnx.types import Options

    return {"converted": False, "report": pipeline.examine(model, Options(input_shapes=shapes)).to_dict()}


def _converted(model: onnx.ModelProto) -> dict[str, Any]:
    own = [n for n in nodes_of(model) if n.domain == "rrm"]
    properties = {p.key: p.value for p in model.metadata_props}
    gates = []
    for node in own:
        values = {a.name: a.f for a in node.attribute}
        if values.get("inner_threshold", 0.0) > 0:
            inner = {"threshold": values["inner_threshold"], "scale": values["inner_scale"]}
            gates.append({"node": f"{node.name} (inside)", **inner})
        if "threshold" in values:
            own_gate = {"node": node.name, "threshold": values["threshold"], "scale": values.get("scale", 0.0)}
            turns = {a.name: a.i for a in node.attribute if a.name == "period"}
            gates.append(own_gate | ({"drift": values["drift"], **turns} if turns else {}))
    return {
        "converted": True,
        "exact": yardstick.is_exact(model),
        "version": properties.get("rrm.version"),
        "source": properties.get("rrm.source"),
        "operators": dict(collections.Counter(n.op_type for n in own).most_common()),
        "gates": gates,
        "report": json.loads(properties["rrm.report"]) if "rrm.report" in properties else None,
    }


def _ports(model: onnx.ModelProto, values: Any) -> list[dict[str, str]]:
    held = {t.name for t in model.graph.initializer}
    ports = []
    for value in values:
        if value.name in held:
            continue
        kind = value.type.tensor_type
        dims = [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
        dtype = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        ports.append({"name": value.name, "type": dtype, "shape": " x ".join(dims)})
    return ports


@click.command("doctor", short_help="Show what is installed and what is missing.")
@json_option
def doctor_command(as_json: bool) -> int:
    """Show versions, the library, the instruction set and what is missing, with how to get it."""
    findings = doctor.examine()
    rows = [(f.name, f.state, f.value, f.hint or "") for f in findings]
    shell.table("rrm-onnx doctor", ("", "", "", "what to do"), rows)
    problems = [f for f in findings if f.is_problem]
    if as_json:
        shell.data({"ok": not problems, "findings": [f.to_dict() for f in findings]})
    if problems:
        sentence = f"converted models do not run here: {', '.join(f.name for f in problems)}"
        return shell.fail(sentence, problems[0].hint, shell.CHECK_FAILED)
    shell.next_command("rrm-onnx", "demo")
    return shell.OK
