"""Bad input gives one clear line and a hint; good input is copied, never changed."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import pytest
from models import Net, chain

from rrm_onnx.common import source_hash
from rrm_onnx.errors import LoadError
from rrm_onnx.load import load


def refused(model: object, text: str) -> LoadError:
    """The LoadError of a model: contains `text`, is one line."""
    with pytest.raises(LoadError) as caught:
        load(model)  # type: ignore[arg-type]
    assert text in caught.value.message
    assert "\n" not in caught.value.message and len(caught.value.message) < 500
    return caught.value


@pytest.mark.parametrize(
    ("content", "text", "hint"),
    [
        (b"", "is empty", "again"),
        (bytes(range(256)) * 4, "is not an ONNX model", "exporter"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page", "raw"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
        (b"PK\x03\x04 a zip archive", "is not an ONNX model", "exporter"),
    ],
)
def test_other_files(tmp_path: pathlib.Path, content: bytes, text: str, hint: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert hint in (refused(path, text).hint or "")


def test_missing_and_folder(tmp_path: pathlib.Path) -> None:
    assert refused(tmp_path / "no.onnx", "no such file").hint
    assert refused(tmp_path, "is a folder").hint


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: pathlib.Path, share: float) -> None:
    content = chain("Relu").SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "truncated")


def test_external_data(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.onnx"
    model = chain("Relu")
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    loaded = load(path)
    assert source_hash(loaded) != ""
    want = onnx.numpy_helper.to_array(chain("Relu").graph.initializer[0])
    assert np.array_equal(onnx.numpy_helper.to_array(loaded.graph.initializer[0]), want)
    (tmp_path / "weights.bin").unlink()
    assert "data file" in (refused(path, "external data").hint or "")


def test_opsets() -> None:
    newest = onnx.defs.onnx_opset_version()
    model = chain("Relu")
    model.opset_import[0].version = newest + 1
    assert "upgrade onnx" in (refused(model, f"opset {newest + 1} is newer").hint or "")
    model.opset_import[0].version = 6
    assert "version_converter" in (refused(model, "opset 6 is too old").hint or "")
    del model.opset_import[:]
    refused(model, "does not say which")


def test_empty_graph() -> None:
    refused(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), "graph is empty")


def test_already_converted() -> None:
    model = chain("Relu")
    model.opset_import.append(onnx.helper.make_opsetid("rrm", 1))
    assert "original" in (refused(model, "already converted").hint or "")


def test_cycle() -> None:
    net = Net()
    net.input()
    net.add("Add", "x", "b", out="a")
    net.add("Relu", "a", out="b")
    net.output("b")
    refused(net.model(), "not a valid ONNX model")


def test_tensor_made_twice() -> None:
    net = Net()
    net.input()
    net.add("Relu", "x", out="y")
    net.add("Sigmoid", "x", out="y")
    net.output("y")
    refused(net.model(), "not a valid ONNX model")


def test_unknown_operator() -> None:
    """onnx knows no such operator: let through, onnxruntime has the last word."""
    net = Net()
    net.output(net.add("ImageScaler", net.input(), out="y", scale=1.0, bias=[0.0, 0.0, 0.0]))
    assert load(net.model()).graph.node[0].op_type == "ImageScaler"


def test_copy() -> None:
    model = chain("Relu")
    before = model.SerializeToString(deterministic=True)
    loaded = load(model)
    loaded.graph.node[0].name = "other"
    assert model.SerializeToString(deterministic=True) == before


def test_same_hash_from_file_and_memory(tmp_path: pathlib.Path) -> None:
    model = chain("Relu")
    onnx.save(model, tmp_path / "m.onnx")
    assert source_hash(load(tmp_path / "m.onnx")) == source_hash(load(model))


def test_more_weights_than_a_file_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain("Relu")
    weights = sum(len(t.raw_data) for t in model.graph.initializer)
    monkeypatch.setattr("rrm_onnx.load.LARGEST", weights)
    load(model)
    monkeypatch.setattr("rrm_onnx.load.LARGEST", weights - 1)
    assert "split the model" in (refused(model, "GB of weights, and one ONNX file holds 2 GB").hint or "")


def test_warnings_of_the_checker_do_not_get_into_the_data(capfd, tmp_path: pathlib.Path) -> None:
    """It prints a warning about operators of old to standard output, past Python."""
    net = Net(7)
    x = net.conv(net.input(), 8)
    net.output(net.add("ImageScaler", net.conv(x, 3, 8), scale=2.0, bias=[0.0, 1.0, 2.0]))
    load(net.model())
    out, err = capfd.readouterr()
    assert out == "" and "experimental" in err
    # The same where C's standard output is buffered, as it is into a pipe; with Python's -u it is not.
    onnx.save(net.model(), tmp_path / "old.onnx")
    code = f"from rrm_onnx.load import load; load({str(tmp_path / 'old.onnx')!r}); print('data')"
    plain = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    assert done.stdout == "data\n" and "experimental" in done.stderr
