"""Where the tests find what is not in the tree: the shared library, the corpus of real models and clips, and a folder
to run commands in."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import tempfile

import hypothesis
import onnx
import pytest
from small import cnn, pictures, write_clip

from rrm_onnx import runtime
from rrm_onnx.errors import RuntimeMissingError

ROOT = pathlib.Path(__file__).resolve().parent.parent
pytest.register_assert_rewrite("commands", "decisions", "normalised")


def _choose_library() -> None:
    """RRM_LIBRARY, else a development build in build/, else the installed package's; children inherit the choice."""
    built = ROOT / "build" / runtime.LIBRARY
    if "RRM_LIBRARY" not in os.environ and built.is_file():
        os.environ["RRM_LIBRARY"] = str(built)


_choose_library()

# Few examples by default; `pytest --hypothesis-profile=long` for many.
hypothesis.settings.register_profile("quick", max_examples=25, deadline=None)
hypothesis.settings.register_profile("long", max_examples=300, deadline=None)
hypothesis.settings.load_profile("quick")


@pytest.fixture(scope="session")
def library() -> str:
    """Path of the shared library; in a source tree where nothing is built or installed the test is skipped."""
    try:
        return runtime.library_path()
    except RuntimeMissingError as error:
        if "RRM_LIBRARY" in os.environ or _installed():
            raise
        pytest.skip(f"{error.message}; {error.hint}")


def _installed() -> bool:
    try:
        importlib.metadata.distribution("rrm_onnx")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="session")
def corpus() -> pathlib.Path:
    """Folder of the corpus (RRM_CORPUS, else ../shared/corpus beside the project)."""
    path = pathlib.Path(os.environ.get("RRM_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not path.is_dir():
        pytest.skip(f"no corpus at {path}: set RRM_CORPUS")
    return path


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The working folder, with model.onnx and clip.mkv of 5 frames."""
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    onnx.save(cnn(), "model.onnx")
    write_clip(tmp_path / "clip.mkv", pictures(5))
    return tmp_path


@pytest.fixture
def temporary(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Where temporary folders are made; a test may look what is left of them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
