"""The Python side of the library: finding it, refusing the wrong one, registering it once, sessions and their group."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import rrm_onnx
from rrm_onnx import runtime
from rrm_onnx.errors import RrmError, RuntimeMissingError

ort = pytest.importorskip("onnxruntime")


def tiny_model() -> bytes:
    """x -> Enter -> Exit -> y: the identity."""
    gate = {"threshold": 0.0, "scale": 0.0, "drift": 1.0, "period": 1}
    nodes = [
        helper.make_node("Enter", ["x"], ["t"], "Enter_x", domain="rrm", channels_last=0, **gate),
        helper.make_node("Exit", ["t"], ["y"], "Exit_y", domain="rrm", channels_last=0),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 3, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "tiny", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("rrm", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def python(code: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, for what depends on which modules are loaded."""
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)


def session(options=None, **kwargs):
    return rrm_onnx.InferenceSession(tiny_model(), options, providers=["CPUExecutionProvider"], **kwargs)


def frame(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((1, 2, 3, 4), np.float32)}


# The package


def test_public_names_are_all_there():
    assert set(dir(rrm_onnx)) == {
        *("InferenceSession", "Report", "RrmError", "__version__", "calibrate", "convert", "library_path"),
        *("register", "verify"),
    }
    pytest.importorskip("onnx_graphsurgeon")  # `convert` needs it, running a converted model does not
    for name in rrm_onnx.__all__:
        assert getattr(rrm_onnx, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        rrm_onnx.nonsense  # noqa: B018


def test_the_name_verify_is_the_function_in_any_order_of_imports():
    code = "import rrm_onnx.verify; import rrm_onnx; assert not hasattr(rrm_onnx.verify, '__path__'); "
    code += "assert rrm_onnx.verify.__qualname__ == 'verify'; from rrm_onnx.verify import Report"
    assert python(code).returncode == 0


def test_import_needs_neither_onnxruntime_nor_the_graph_library():
    result = python("""
        import sys, rrm_onnx
        print([m for m in ("onnxruntime", "onnx_graphsurgeon", "onnx", "numpy") if m in sys.modules])
    """)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("use", ["rrm_onnx.InferenceSession", "rrm_onnx.register(None)"])
def test_without_onnxruntime_the_extra_is_named(use):
    result = python(f"""
        import sys
        sys.modules["onnxruntime"] = None  # as if it were not installed
        import rrm_onnx
        try:
            {use}
        except rrm_onnx.RrmError as error:
            print(type(error).__name__, error.message, error.hint, sep="|")
    """)
    kind, message, hint = result.stdout.strip().split("|")
    assert (kind, message) == ("RuntimeMissingError", "onnxruntime is not installed"), result.stderr
    assert 'pip install "rrm_onnx[cpu]"' in hint


def test_a_traceback_shows_the_hint():
    result = python("import sys; sys.modules['onnxruntime'] = None; import rrm_onnx; rrm_onnx.InferenceSession")
    assert result.stderr.strip().splitlines()[-1].startswith('hint: pip install "rrm_onnx[cpu]"')


@pytest.mark.parametrize("version", ["1.16.3", "1.9.0", "0.5.0"])
def test_an_old_onnxruntime_is_refused(version):
    with pytest.raises(RuntimeMissingError, match=rf"onnxruntime {version} is too old: 1\.17 or newer") as caught:
        runtime.check_runtime_version(version)
    assert "onnxruntime>=1.17" in caught.value.hint


@pytest.mark.parametrize("version", ["1.17.0", "1.32.0", "2.0.0", "1.24.0+cu126", "nightly"])
def test_newer_ones_are_not(version):
    runtime.check_runtime_version(version)


# The library file


def test_an_override_that_does_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("RRM_LIBRARY", str(tmp_path / "none.so"))
    with pytest.raises(RuntimeMissingError, match="RRM_LIBRARY names a file that does not exist") as caught:
        rrm_onnx.library_path()
    assert "unset" in caught.value.hint


def test_an_override_that_is_no_library(monkeypatch, tmp_path):
    path = tmp_path / "text.so"
    path.write_text("not a library")
    monkeypatch.setenv("RRM_LIBRARY", str(path))
    with pytest.raises(RuntimeMissingError, match="the library does not load"):
        rrm_onnx.library_path()


def test_an_override_that_is_another_library(monkeypatch):
    candidates = sorted(pathlib.Path(np.__file__).parent.glob("*core/_multiarray_umath*.so"))
    if not candidates:
        pytest.skip("no other shared library at hand")
    monkeypatch.setenv("RRM_LIBRARY", str(candidates[0]))
    with pytest.raises(RuntimeMissingError, match="is not the library of rrm_onnx"):
        rrm_onnx.library_path()


def test_a_missing_library_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.delenv("RRM_LIBRARY", raising=False)
    monkeypatch.setattr(rrm_onnx, "__path__", [str(tmp_path)])
    monkeypatch.setattr(runtime.importlib.metadata, "distribution", _not_installed)
    with pytest.raises(RuntimeMissingError, match=f"the library {runtime.LIBRARY} is missing from") as caught:
        rrm_onnx.library_path()
    assert caught.value.hint == "install the package again: pip install ."


def _not_installed(name):
    raise runtime.importlib.metadata.PackageNotFoundError(name)


def test_a_library_of_another_version(library, monkeypatch):
    monkeypatch.setattr(rrm_onnx, "__version__", "9.9.9")
    runtime._load.cache_clear()
    try:
        with pytest.raises(RuntimeMissingError, match=r"is of version \d+\.\d+\.\d+, the package of version 9\.9\.9"):
            rrm_onnx.library_path()
    finally:
        runtime._load.cache_clear()


def test_only_the_entry_points_are_exported(library):
    try:
        listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("no nm")
    names = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert names == {"RegisterCustomOps", "RrmQuery"}


# Queries


def test_query_version_and_level(library):
    assert runtime.query("version") == {"version": rrm_onnx.__version__, "abi": 1}
    level = runtime.query("isa")
    assert level["chosen"] in level["available"]
    assert "portable" in level["available"]


@pytest.mark.parametrize("request_", ["nonsense", "", "stats 999999999"])
def test_a_query_that_the_library_does_not_know(library, request_):
    with pytest.raises(RrmError):
        runtime.query(request_)


def test_a_level_that_is_not_there_is_named(library, monkeypatch):
    monkeypatch.setenv("RRM_ISA", "abacus")
    with pytest.raises(RrmError, match="does not answer the request 'isa'") as caught:
        runtime.query("isa")
    assert "RRM_ISA=abacus" in caught.value.hint


# Registration


def test_registering_twice_is_registering_once(library):
    options = ort.SessionOptions()
    rrm_onnx.register(options)
    group = runtime.register_group(options)
    assert runtime.register_group(options) == group
    model = tiny_model()
    for make in (ort.InferenceSession, rrm_onnx.InferenceSession):  # the plain session too
        outputs = make(model, options, providers=["CPUExecutionProvider"]).run(None, frame(0))
        np.testing.assert_array_equal(outputs[0], frame(0)["x"])
    assert runtime.register_group(ort.SessionOptions()) != group


def test_options_that_the_user_registered(library):
    options = ort.SessionOptions()
    options.register_custom_ops_library(rrm_onnx.library_path())
    with pytest.raises(RrmError, match="registered twice") as caught:
        session(options)
    assert "rrm_onnx.register(options)" in caught.value.hint


def test_options_copied_from_a_session_are_registered_again(library):
    """onnxruntime's copy keeps the entries of the options, not the operators."""
    copied = session().get_session_options()
    np.testing.assert_array_equal(session(copied).run(None, frame(0))[0], frame(0)["x"])


def test_register_checks_its_argument(library):
    with pytest.raises(RrmError, match=r"register expects onnxruntime\.SessionOptions, not NoneType"):
        rrm_onnx.register(None)


def test_the_librarys_refusal_keeps_sentence_and_hint(library):
    result = python("""
        import os
        os.environ["RRM_ISA"] = "abacus"
        import onnxruntime, rrm_onnx
        try:
            rrm_onnx.register(onnxruntime.SessionOptions())
        except rrm_onnx.RrmError as error:
            print(error.message)
            print(error.hint)
    """)
    message, hint = result.stdout.strip().splitlines()
    assert "abacus" in message and "ONNXRuntimeError" not in message, result.stderr
    assert "portable" in hint


# Sessions


def entry(options, key):
    try:
        return options.get_session_config_entry(key)
    except RuntimeError:
        return None


def test_spinning_is_off_unless_asked_for(library):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.inter_op.allow_spinning", "1")
    made = session(options)
    for holder in (options, made.get_session_options()):
        assert entry(holder, "session.intra_op.allow_spinning") == "0"
        assert entry(holder, "session.inter_op.allow_spinning") == "1"


def test_it_is_an_onnxruntime_session(library):
    made = session()
    assert isinstance(made, ort.InferenceSession)
    assert [i.name for i in made.get_inputs()] == ["x"]


def test_the_session_takes_a_path(library, tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    onnx.checker.check_model(onnx.load(path))
    made = rrm_onnx.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(made.run(None, frame(3))[0], frame(3)["x"])


def test_stats_count_runs_and_reset_makes_keyframes(library):
    made, other = session(), session()
    for seed in (0, 0, 1):
        made.run(None, frame(seed))
    nodes = {node["name"]: node for node in made.stats()["nodes"]}
    assert list(nodes) == ["Enter_x", "Exit_y"]
    enter = nodes["Enter_x"]
    assert (enter["op"], enter["runs"], enter["keyframes"]) == ("Enter", 3, 1)
    assert (enter["sites"], enter["changed"]) == (2 * 12, 0 + 12)  # of the two runs after the keyframe
    assert [node["runs"] for node in other.stats()["nodes"]] == [0, 0]  # a group of its own

    made.reset()
    made.run(None, frame(1))
    assert made.stats()["nodes"][0]["keyframes"] == 2

    made.reset_stats()
    assert made.stats()["nodes"][0]["runs"] == 0
    made.run(None, frame(1))
    assert made.stats()["nodes"][0]["keyframes"] == 0  # the state was kept


def test_gates_can_be_set_where_there_are_some(library):
    made = session()
    made.set_gate("Enter_x", (0.5, 2.0), (0.25, 4))
    assert made.stats()["nodes"][0]["threshold"] == 0.5
    for name in ("Exit_y", "nonsense"):
        with pytest.raises(RrmError):
            made.set_gate(name, (0.5, 2.0))
