#!/usr/bin/env python3
"""Pictures of measurements: the JSON of run_pairs.py, and that of `rrm-onnx bench --op`.

    python tests/bench/plots.py pairs.json operators.json -o docs/pictures

A file of pairs gives bars: how many times as fast, beside what the share of multiply-accumulates would allow; where it
was measured (--roofline, --phases) also NAME-roofline.png and NAME-phases.png. A file of operators gives curves of the
ratio over the share of sites that change; with one share only, bars. The picture has the file's name.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

try:
    import matplotlib

    matplotlib.use("Agg")  # files only
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
except ImportError as missing:
    sys.exit(f'error: {missing}\n\nhint: pip install ".[bench]"')

MOST = 20.0  # an ideal beyond it is drawn as this: other costs than multiply-accumulates rule there
PAIRS_A_ROW = 5
SHADES = ("#1b3a5c", "#2f74a8", "#62aed6", "#a9d5ea", "#d5ebf5")  # by tolerance, dark is exact
RIVAL = "#c2381e"
LINES = ("#1b6ca8", "#d1701c", "#2a8c4a", "#a8324a", "#6b4fa0", "#8a6a2f")
PHASE_COLOURS = (
    "#8a6a2f",
    "#d1701c",
    "#f0c27b",
    "#1b3a5c",
    "#2f74a8",
    "#62aed6",
    "#2a8c4a",
    "#a9d5ea",
    "#bbbbbb",
    "#777777",
)
Row = Mapping[str, Any]
plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})


def pairs(rows: Sequence[Row], machine: Row) -> plt.Figure:
    """Bars in groups: a group is a pair, a colour is a tolerance."""
    names = list(dict.fromkeys(row["pair"] for row in rows))
    tolerances = sorted({row["tolerance"] for row in rows})
    lines = [names[k : k + PAIRS_A_ROW] for k in range(0, len(names), PAIRS_A_ROW)]
    widest = min(len(names), PAIRS_A_ROW)
    width = max(7.0, 1.5 + widest * max(1.6, 0.55 * len(tolerances)))
    keys, texts = pair_legend(rows, tolerances)
    columns = max(1, min(len(keys), int(width / 2.3)))
    head = 0.25 + 0.25 * -(-len(keys) // columns)
    figure, axes = plt.subplots(len(lines), 1, figsize=(width, 3.1 * len(lines) + head), squeeze=False)
    values = [v for row in rows for v in (row["ratio"], allowed(row), rival(row)) if v]
    for axis, some in zip(axes[:, 0], lines, strict=True):
        pair_bars(axis, [row for row in rows if row["pair"] in some], some, tolerances)
        axis.set_ylim(min(0.6, min(values) / 1.5), max(values) * 1.7)
        axis.set_xlim(-0.6, widest - 0.4)
    figure.legend(keys, texts, loc="upper center", ncols=columns, frameon=False, bbox_to_anchor=(0.5, 0.995))
    figure.supylabel("times as fast as ONNX Runtime", fontsize=11)
    finish(figure, machine, head)
    return figure


def rooflines(rows: Sequence[Row], machine: Row) -> plt.Figure:
    """For each pair and tolerance: what its nodes took, and what they would take by multiply-accumulates and bytes."""
    lines = [row for row in rows if row.get("roofline")]
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(lines) + 1.6))
    for k, row in enumerate(lines):
        best = row["roofline"]
        axis.barh(k, best["ms"] / best["reached"], 0.74, color="#d5ebf5", label="measured, all nodes")
        axis.barh(k - 0.18, best["compute_ms"], 0.3, color=LINES[0], label="at best by multiply-accumulates")
        axis.barh(k + 0.18, best["memory_ms"], 0.3, color=LINES[1], label="at best by bytes")
        axis.text(best["ms"] / best["reached"], k, f" {100 * best['reached']:.0f} %", va="center", fontsize=8)
    axis.set_yticks(range(len(lines)), [labelled(row) for row in lines], fontsize=8)
    axis.set(xscale="log", xlabel="milliseconds a frame; the figure is the share of what is possible")
    axis.set_ylim(len(lines) - 0.4, -0.6)
    legend_above(figure, axis, 3)
    finish(figure, machine, head=0.35)
    return figure


def phases(rows: Sequence[Row], machine: Row) -> plt.Figure:
    """For each pair and tolerance: which share of the threads' time goes to what."""
    lines = [row for row in rows if row.get("phases")]
    names = [name for name in lines[0]["phases"] if name not in ("outside", "swept")] + ["outside"]
    figure, axis = plt.subplots(figsize=(8, 0.34 * len(lines) + 1.8))
    for k, row in enumerate(lines):
        total, at = sum(row["phases"][name] for name in names), 0.0
        for name, colour in zip(names, PHASE_COLOURS, strict=True):
            share = 100 * row["phases"][name] / total
            axis.barh(k, share, 0.76, left=at, color=colour, label=name)
            at += share
    axis.set_yticks(range(len(lines)), [labelled(row) for row in lines], fontsize=8)
    axis.set_xlabel("share of the time, %; outside: ONNX Runtime and dense nodes")
    axis.set_xlim(0, 100)
    axis.set_ylim(len(lines) - 0.4, -0.6)
    legend_above(figure, axis, 5)
    finish(figure, machine, head=0.55)
    return figure


def labelled(row: Row) -> str:
    return f"{row['pair']}, " + (f"tolerance {row['tolerance']:g}" if row["tolerance"] else "exact")


def legend_above(figure: plt.Figure, axis: plt.Axes, columns: int) -> None:
    """Each label once, above the axes."""
    keys = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(
        keys.values(), keys, loc="upper center", ncols=columns, frameon=False, fontsize=8, bbox_to_anchor=(0.5, 0.995)
    )


def pair_legend(rows: Sequence[Row], tolerances: Sequence[float]) -> tuple[list[Any], list[str]]:
    counted = any(row.get("ideal") for row in rows)
    capped = any(allowed(row) == MOST for row in rows)
    keys: list[Any] = [plt.Rectangle((0, 0), 1, 1, color=shade(k)) for k in range(len(tolerances))]
    texts = ["exact" if t == 0 else f"tolerance {t:g}" for t in tolerances]
    keys.append(plt.Rectangle((0, 0), 1, 1, fill=False, hatch="////", edgecolor="#777777"))
    texts.append(f"1 / {'ideal share' if counted else 'share'} of MACs" + (f", at most {MOST:g}" if capped else ""))
    if any(rival(row) for row in rows):
        keys.append(plt.Line2D([], [], color=RIVAL, marker="_", markersize=12, markeredgewidth=2, linestyle=""))
        texts.append("OpenVINO")
    return keys, texts


def pair_bars(axis: plt.Axes, rows: Sequence[Row], names: Sequence[str], tolerances: Sequence[float]) -> None:
    """Bars begin at 1: what is slower than the original hangs down."""
    step = min(0.84 / len(tolerances), 0.4)
    for row in rows:
        k, ratio, beside = tolerances.index(row["tolerance"]), row["ratio"], rival(row)
        x = names.index(row["pair"]) + (k - (len(tolerances) - 1) / 2) * step
        axis.bar(x - step * 0.22, ratio - 1, step * 0.44, bottom=1, color=shade(k))
        up = ratio >= 0.95
        height = max(ratio, 1, beside or 0) * 1.06 if up else min(ratio, beside or ratio) / 1.06
        axis.text(x - step * 0.22, height, figures(ratio), ha="center", va="bottom" if up else "top", fontsize=8)
        ideal = allowed(row)
        if ideal:
            box = {"fill": False, "hatch": "////", "edgecolor": shade(k), "alpha": 0.8}
            axis.bar(x + step * 0.2, ideal - 1, step * 0.36, bottom=1, **box)
        if beside:
            axis.hlines(beside, x - step * 0.45, x + step * 0.01, color=RIVAL, linewidth=2)
    axis.axhline(1, color="black", linewidth=0.8)
    logarithmic(axis)
    axis.set_xticks(range(len(names)), names)
    axis.tick_params(axis="x", length=0)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)


def logarithmic(axis: plt.Axes) -> None:
    """The vertical axis, with ticks at 1, 2, 5, 10, ..."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def shade(k: int) -> str:
    return SHADES[min(k, len(SHADES) - 1)]


def allowed(row: Row) -> float | None:
    """What the share of multiply-accumulates allows: ideal.py's where it was counted, else those that were done."""
    share = (row.get("ideal") or {}).get("best", row.get("macs_share"))
    return None if share is None else min(MOST, 1 / share) if share > 0 else MOST


def rival(row: Row) -> float | None:
    """How many times as fast as ONNX Runtime OpenVINO is."""
    found = row.get("rivals", {}).get("OpenVINO")
    return row["dense"]["ms"] / found["ms"] if found else None


def figures(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2f}"


def operators(rows: Sequence[Row], machine: Row) -> plt.Figure:
    """A panel for each family, a curve for each operator."""
    drawn = [row for row in rows if row["activity"] > 0]  # the axis is logarithmic
    families = list(dict.fromkeys(family(row) for row in drawn))
    columns = min(3, len(families))
    lines = -(-len(families) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4.1 * columns + 0.6, 3.5 * lines + 0.7), sharex=True, sharey=True, squeeze=False
    )
    shares = sorted({row["activity"] for row in drawn})
    for k, axis in enumerate(axes.flat):
        axis.set_visible(k < len(families))
        if k < len(families):
            family_curves(axis, families[k], [row for row in drawn if family(row) == families[k]], shares)
            axis.xaxis.set_tick_params(labelbottom=k + columns >= len(families))
    figure.supxlabel("share of the input's sites that change", fontsize=11, y=0.3 / figure.get_figheight(), va="bottom")
    figure.supylabel("times as fast as ONNX Runtime's operator", fontsize=11)
    finish(figure, machine)
    return figure


def family_curves(axis: plt.Axes, name: str, rows: Sequence[Row], shares: Sequence[float]) -> None:
    for k, shape in enumerate(dict.fromkeys(row["shape"] for row in rows)):
        points = sorted((row["activity"], row["ratio"]) for row in rows if row["shape"] == shape)
        axis.plot(*zip(*points, strict=True), "o-", color=LINES[k % len(LINES)], markersize=4, label=shape)
    axis.plot(shares, [1 / s for s in shares], ":", color="#888888", label="1 / share")
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set(title=name, xscale="log")
    logarithmic(axis)
    axis.set_xticks(shares, [f"{100 * s:g} %" for s in shares])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.legend(fontsize=8, frameon=False)


def family(row: Row) -> str:
    """What stands in one panel: by operator, for convolutions by kernel, for those in groups all."""
    if row["op"] != "Conv":
        return "other operators"
    words = row["shape"].split()
    if any(word[0] == "g" for word in words):
        return "depthwise and grouped"
    return f"{words[1]} convolutions" if words[1] in ("1x1", "3x3") else "other convolutions"


def operator_bars(rows: Sequence[Row], machine: Row, sums: Sequence[Row]) -> plt.Figure:
    """A bar for each operator, all at the same share of changes."""
    figure, axis = plt.subplots(figsize=(8, 0.28 * len(rows) + 1.5))
    for k, row in enumerate(rows):
        axis.barh(k, row["ratio"], 0.72, color=LINES[0])
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axis.text(row["ratio"] + 0.1, k, figures(row["ratio"]), va="center", fontsize=8, bbox=paper)
    counts = [f"{row['count']} x " if row["count"] > 1 else "" for row in rows]
    axis.set_yticks(range(len(rows)), [c + row["shape"] for c, row in zip(counts, rows, strict=True)], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.axvline(1, color="black", linewidth=0.8)
    for total in sums:
        axis.axvline(total["ratio"], color=LINES[1], linestyle="--")
        axis.annotate(
            f"all {total['count']}: {total['ratio']:.1f}",
            (total["ratio"], 1),
            (4, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=LINES[1],
        )
    share = f"{100 * rows[0]['activity']:g} %"
    axis.set_xlabel(f"times as fast as ONNX Runtime's operator, {share} of the input's sites change")
    axis.set_xlim(0, 1.08 * max(row["ratio"] for row in rows))
    finish(figure, machine, head=0.2)
    return figure


def finish(figure: plt.Figure, machine: Row, head: float = 0.0) -> None:
    """Room for everything, and the machine in small print. head: inches above the axes."""
    shown = ("cpu", "isa", "threads", "onnxruntime")
    text = ", ".join(f"{machine[k]}" if k == "cpu" else f"{k} {machine[k]}" for k in shown if k in machine)
    height = figure.get_figheight()
    figure.text(0.995, 0.05 / height, text, ha="right", va="bottom", fontsize=7, color="#777777")
    figure.tight_layout(rect=(0, 0.22 / height, 1, 1 - head / height))


def pictures(path: pathlib.Path) -> dict[str, plt.Figure]:
    """The figures of one JSON file by what is added to its name; SystemExit with a sentence where it is not one."""
    figures = {"": picture(path)}
    found = json.loads(path.read_text())
    for kind, draw in (("roofline", rooflines), ("phases", phases)):
        if any(row.get(kind) for row in found["rows"]):
            figures[f"-{kind}"] = draw(found["rows"], found["machine"])
    return figures


def picture(path: pathlib.Path) -> plt.Figure:
    """The main figure of one JSON file."""
    try:
        found = json.loads(path.read_text())
        rows, machine = found["rows"], found["machine"]
        if rows and "pair" in rows[0]:
            return pairs(rows, machine)
        if rows and "activity" in rows[0]:
            one = len({row["activity"] for row in rows}) == 1
            return operator_bars(rows, machine, found.get("sums", [])) if one else operators(rows, machine)
    except OSError as error:
        sys.exit(f"error: {path}: {error.strerror}\n\nhint: run_pairs.py --json FILE writes one")
    except (ValueError, KeyError, TypeError):
        pass
    sys.exit(
        f"error: {path}: holds no measurement\n\nhint: run_pairs.py --json FILE, or rrm-onnx bench --op all --json"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=pathlib.Path, nargs="+", help="of run_pairs.py or of rrm-onnx bench --op")
    parser.add_argument("-o", "--out", type=pathlib.Path, default=pathlib.Path("."), help="folder of the pictures [.]")
    given = parser.parse_args()
    for path in given.json:
        for more, figure in pictures(path).items():
            given.out.mkdir(parents=True, exist_ok=True)
            target = given.out / f"{path.stem}{more}.png"
            figure.savefig(target, dpi=144)
            plt.close(figure)
            print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
