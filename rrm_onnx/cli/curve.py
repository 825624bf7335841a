"""The picture of a calibration: loss against time, the chosen point beside the alternatives."""

from __future__ import annotations

import io
import pathlib
from typing import Any

from rrm_onnx.cli.files import write_atomically

STYLES = {
    "calibrated": ("#1b6ca8", "o", "-"),
    "uniform": ("#d1701c", "s", "--"),
    "hold": ("#8a8a8a", "^", ":"),
    "motion gate": ("#2a8c4a", "D", ":"),
}
LABELS = {
    "calibrated": "calibrated thresholds, scaled",
    "uniform": "one threshold for all gates",
    "hold": "original on every 2nd, 3rd, 5th frame",
    "motion gate": "original where the picture moved enough",
}


def picture(found: Any, path: pathlib.Path) -> None:
    """PNG of `found`, a calibration's Thresholds with a curve."""
    import matplotlib

    matplotlib.use("Agg")  # files only
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    for kind, (colour, mark, line) in STYLES.items():
        points = sorted((e.cost, e.loss) for e in found.curve if e.kind == kind)
        if points:
            axes.plot(*zip(*points, strict=True), line, color=colour, marker=mark, label=LABELS[kind])
    here = [e for e in found.curve if e.kind == ("exact" if found.exact else "calibrated") and e.value in (0, 1)]
    for entry in here:
        axes.plot(entry.cost, entry.loss, "o", ms=13, mfc="none", mec="#c2381e", mew=2, label="chosen")
    facts = found.facts
    allowed = facts["budget"] if facts["is_error"] else 1 - facts["budget"]
    axes.axhline(allowed, color="#c2381e", lw=0.8, ls="--", label="budget")
    axes.axvline(facts["original_ms"], color="black", lw=0.8, label="original on every frame")
    axes.set(xlabel="ms a frame", ylabel="mean error" if facts["is_error"] else "1 - mean agreement")
    axes.set_xlim(left=0)
    axes.set_ylim(0, max(3 * allowed, 1.2 * max((e.loss for e in here), default=0)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    plt.close(figure)
    write_atomically(path, content.getvalue())
