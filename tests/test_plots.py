"""Pictures of measurements: they are made of what the measuring commands write, and say so where a file is not that."""

from __future__ import annotations

import json
import pathlib
import sys

import pytest

pytest.importorskip("matplotlib")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "bench"))

import plots

MACHINE = {"cpu": "a CPU", "isa": "avx2", "threads": 2, "onnxruntime": "1.32.0"}


def pair(name: str, tolerance: float, ratio: float, **more) -> dict:
    return {"pair": name, "tolerance": tolerance, "ratio": ratio, "dense": {"ms": 20.0}, "macs_share": 0.5, **more}


def operator(shape: str, activity: float, ratio: float, count: int = 1) -> dict:
    return {"op": shape.split()[0], "shape": shape, "activity": activity, "ratio": ratio, "count": count}


def texts(figure) -> str:
    """All that can be read in a figure."""
    return "\n".join(t.get_text() for t in figure.findobj(plots.matplotlib.text.Text))


def make(tmp_path: pathlib.Path, rows: list[dict], **more):
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"machine": MACHINE, "rows": rows, **more}))
    return plots.picture(path)


def heights(figure) -> list[float]:
    """Tops of the bars of the first axes."""
    return [round(p.get_y() + p.get_height(), 6) for p in figure.axes[0].patches]


def test_pairs_stand_beside_what_the_ideal_allows(tmp_path):
    rows = [
        pair("street", 0.0, 0.8, ideal={"best": 0.5}),
        pair("street", 0.02, 4.0, ideal={"best": 0.01}, rivals={"OpenVINO": {"ms": 16.0}}),
    ]
    figure = make(tmp_path, rows)
    assert heights(figure) == [0.8, 2.0, 4.0, 20.0]
    shown = texts(figure)
    for text in ("exact", "tolerance 0.02", "1 / ideal share of MACs, at most 20", "OpenVINO", "street", "0.80", "4.0"):
        assert text in shown
    assert "a CPU, isa avx2, threads 2, onnxruntime 1.32.0" in shown
    (line,) = figure.axes[0].collections
    assert line.get_segments()[0][0][1] == pytest.approx(1.25)


def test_what_bounds_a_pair_and_where_its_time_goes(tmp_path):
    roofline = {"compute_ms": 2.0, "memory_ms": 1.0, "ms": 2.5, "reached": 0.5}
    spent = dict.fromkeys(("tickets", "track", "pointers", "gemm", "kernel", "epilogue", "gate", "copy", "wait"), 1.0)
    spent |= {"gemm": 8.0, "outside": 3.0, "swept": 7.0}
    rows = [pair("street", 0.0, 0.8), pair("street", 0.02, 2.0, roofline=roofline, phases=spent)]
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"machine": MACHINE, "rows": rows}))
    figures = plots.pictures(path)
    assert list(figures) == ["", "-roofline", "-phases"]
    bars = [p.get_width() for p in figures["-roofline"].axes[0].patches]
    assert bars == [5.0, 2.0, 1.0] and "50 %" in texts(figures["-roofline"])
    shares = [p.get_width() for p in figures["-phases"].axes[0].patches]
    assert len(shares) == 10 and sum(shares) == pytest.approx(100) and max(shares) == pytest.approx(100 * 8 / 19)
    shown = texts(figures["-phases"])
    assert "street, tolerance 0.02" in shown and "gemm" in shown and "exact" not in shown


def test_without_the_ideal_the_share_that_was_done_counts(tmp_path):
    figure = make(tmp_path, [pair("street", 0.02, 4.0), pair("still", 0.0, 30.0, macs_share=0.0)])
    assert heights(figure) == [4.0, 2.0, 30.0, 20.0]
    assert "1 / share of MACs" in texts(figure) and "OpenVINO" not in texts(figure)


def test_many_pairs_take_several_rows(tmp_path):
    figure = make(tmp_path, [pair(f"pair{k}", t, 2.0 + k) for k in range(12) for t in (0.0, 0.02)])
    assert len(figure.axes) == 3
    assert [t.get_text() for t in figure.axes[2].get_xticklabels()] == ["pair10", "pair11"]


def test_operators_are_curves_in_families(tmp_path):
    shapes = ["Conv 3x3 64->64 56x56", "Conv 1x1 64->256 56x56", "Conv 3x3 g96 96->96 56x56", "Add 64->64 56x56"]
    figure = make(tmp_path, [operator(s, a, 1 / (a + 0.1)) for s in shapes for a in (0.0, 0.01, 0.05, 1.0)])
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["3x3 convolutions", "1x1 convolutions", "depthwise and grouped", "other operators"]
    curve = figure.axes[0].lines[0]
    assert list(curve.get_xdata()) == [0.01, 0.05, 1.0]  # 0 has no place on a logarithmic axis
    assert "5 %" in texts(figure)


def test_one_activity_is_bars_with_the_sum(tmp_path):
    rows = [operator("Conv 3x3 64->64 56x56", 0.05, 8.0, 3), operator("Conv 1x1 64->64 56x56", 0.05, 12.0)]
    figure = make(tmp_path, rows, sums=[{"activity": 0.05, "count": 4, "ratio": 9.0}])
    assert [p.get_width() for p in figure.axes[0].patches] == [8.0, 12.0]
    assert "3 x Conv 3x3 64->64 56x56" in texts(figure) and "all 4: 9.0" in texts(figure)


def test_the_command_writes_files(tmp_path, monkeypatch, capsys):
    source = tmp_path / "pairs.json"
    source.write_text(json.dumps({"machine": MACHINE, "rows": [pair("street", 0.02, 4.0)]}))
    monkeypatch.setattr(sys, "argv", ["plots.py", str(source), "-o", str(tmp_path / "new" / "pictures")])
    assert plots.main() == 0
    written = tmp_path / "new" / "pictures" / "pairs.png"
    assert written.read_bytes().startswith(b"\x89PNG") and capsys.readouterr().out == f"{written}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("no JSON", "holds no measurement"),
        ('{"machine": {}, "rows": []}', "holds no measurement"),
    ],
)
def test_what_is_no_measurement_is_refused(tmp_path, content, message):
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match=message) as error:
        plots.picture(path)
    assert "\n\nhint: " in str(error.value)
