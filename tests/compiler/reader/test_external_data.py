"""External data through links: beside the link, beside what it points to, and nowhere else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import families
from intaglio.compiler.reader import external_data, load

SOURCE = Path(__file__).parents[2] / "fixtures" / "llama-dynamo-18"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """The fixture as a hub's cache has it: links to files that are named by their hashes."""
    (tmp_path / "blobs").mkdir()
    folder = tmp_path / "snapshots/0f1e/onnx"
    folder.mkdir(parents=True)
    for i, path in enumerate(sorted(SOURCE.iterdir())):
        shutil.copy(path, tmp_path / f"blobs/{i:040x}")
        above = path.suffix == ".json" or path.suffix == ".jinja"
        link = folder.parent / path.name if above else folder / path.name
        link.symlink_to(Path("../" * (2 if above else 3)) / f"blobs/{i:040x}")
    return folder.parent


def weights(path: Path) -> list[Any]:
    model, folder = external_data.opened(path)
    graph = load.load(model, folder=folder, bind={d: 1 for i in model.graph.input for d in _names(i)})
    return [v.const for n in graph.nodes for v in n.inputs if v is not None and v.const is not None]


def _names(value) -> set[str]:
    return {d.dim_param for d in value.type.tensor_type.shape.dim} - {""}


def test_data_beside_what_the_link_points_to(snapshot: Path) -> None:
    expected, actual = weights(SOURCE / "model.onnx"), weights(snapshot / "onnx/model.onnx")
    assert len(expected) == len(actual) > 20
    for a, b in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(a, b)


def test_data_beside_the_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    shutil.copy(SOURCE / "model.onnx", tmp_path / "store/a")
    (tmp_path / "model.onnx").symlink_to("store/a")
    shutil.copy(SOURCE / "model.onnx.data", tmp_path / "model.onnx.data")
    assert weights(tmp_path / "model.onnx")


def test_a_link_to_a_model_beside_its_data(tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    (tmp_path / "named/some.onnx").symlink_to(SOURCE / "model.onnx")
    assert weights(tmp_path / "named/some.onnx")


def test_onnxruntime_follows_the_links_too(snapshot: Path) -> None:
    (part,) = families.reference(snapshot).parts.values()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(part.folder))
    session = onnxruntime.InferenceSession(part.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert session.get_inputs()


def test_links_to_anywhere_else_are_refused(snapshot: Path, tmp_path: Path) -> None:
    data = snapshot / "onnx/model.onnx.data"
    secret = tmp_path / "secret"
    shutil.copy(data, secret)
    data.unlink()
    data.symlink_to(secret)
    with pytest.raises(BadModel, match="outside of the model's folder"):
        weights(snapshot / "onnx/model.onnx")
    data.unlink()
    with pytest.raises(BadModel, match=r"model\.onnx\.data is missing"):
        weights(snapshot / "onnx/model.onnx")


@pytest.mark.parametrize("location", ["../../secret", "/etc/hostname", "../../../secret"])
def test_paths_out_are_refused(snapshot: Path, tmp_path: Path, location: str) -> None:
    path = snapshot / "onnx/model.onnx"
    model = load.read(path)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (tmp_path / "secret").write_bytes(b"0" * 10**6)
    path.resolve().write_bytes(model.SerializeToString())
    with pytest.raises(BadModel, match="outside of the model's folder"):
        weights(path)
