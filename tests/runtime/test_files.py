"""The files of a bundle: what is missing, a link, changed, or nonsense under the right hash is a BadBundle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import accept, whole_plan
from parity import device
from safetensors.numpy import load_file, save_file

from intaglio.runtime.engine import Engine
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.session import Session


@pytest.fixture
def mine(small_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to break."""
    return Path(shutil.copytree(small_bundle, tmp_path / "mine"))


def load(folder: Path) -> Session:
    return Engine(folder, whole_plan(folder), device=device()).session()


def any_file(folder: Path, suffix: str) -> Path:
    return next(p for p in sorted(folder.rglob("*")) if p.suffix == suffix)


def test_a_good_bundle_loads(mine: Path) -> None:
    load(mine)


def test_a_bundle_may_be_reached_through_a_link(mine: Path, tmp_path: Path) -> None:
    """The user's own link to a folder is no trick of the folder's author."""
    (tmp_path / "latest").symlink_to(mine)
    load(tmp_path / "latest")


@pytest.mark.parametrize("suffix", [".wgsl", ".safetensors"])
class TestFiles:
    def test_missing(self, mine: Path, suffix: str) -> None:
        any_file(mine, suffix).unlink()
        with pytest.raises(BadBundle, match="missing"):
            load(mine)

    def test_changed(self, mine: Path, suffix: str) -> None:
        path = any_file(mine, suffix)
        path.write_bytes(path.read_bytes() + b" ")
        with pytest.raises(BadBundle, match="hash"):
            load(mine)

    def test_a_link(self, mine: Path, suffix: str, tmp_path: Path) -> None:
        path = any_file(mine, suffix)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BadBundle, match="link"):
            load(mine)

    def test_a_folder(self, mine: Path, suffix: str) -> None:
        path = any_file(mine, suffix)
        path.unlink()
        path.mkdir()
        with pytest.raises(BadBundle):
            load(mine)

    def test_a_pipe(self, mine: Path, suffix: str) -> None:
        """Whoever opens it waits for ever."""
        path = any_file(mine, suffix)
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(BadBundle):
            load(mine)

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00 no text", b"\x00" * 64, b"\xff" * 64, b"{" * 64])
    def test_nonsense_with_the_right_hash(self, mine: Path, suffix: str, content: bytes) -> None:
        path = any_file(mine, suffix)
        path.write_bytes(content)
        accept(mine, path)
        with pytest.raises(BadBundle):
            load(mine)


def test_the_folder_of_kernels_is_not_a_link(mine: Path, tmp_path: Path) -> None:
    (mine / "kernels").rename(tmp_path / "elsewhere")
    (mine / "kernels").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadBundle, match="link"):
        load(mine)


def test_the_plan_is_not_a_link(mine: Path, tmp_path: Path) -> None:
    (mine / "plan.json").rename(tmp_path / "plan.json")
    (mine / "plan.json").symlink_to(tmp_path / "plan.json")
    with pytest.raises(BadBundle, match="link"):
        load(mine)


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    path = any_file(folder, ".safetensors")
    save_file(change(load_file(path)), path)
    accept(folder, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {f"{name}.x": a for name, a in tensors.items()},
        lambda tensors: {name: np.concatenate([a, a]) for name, a in tensors.items()},
        lambda tensors: {name: a.astype(np.float16) for name, a in tensors.items()},
        lambda tensors: {name: a.astype(np.float64) for name, a in tensors.items()},
        lambda tensors: {},
    ],
    ids=["other names", "too large", "f16", "f64", "nothing"],
)
def test_weights_that_the_plan_does_not_describe(change: Callable, mine: Path) -> None:
    rewrite(mine, change)
    with pytest.raises(BadBundle):
        load(mine)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "U16", "NONSENSE"])
def test_weights_of_other_types(dtype: str, mine: Path) -> None:
    path = any_file(mine, ".safetensors")
    name = next(b["name"] for b in json.loads((mine / "plan.json").read_text())["buffers"] if b["kind"] == "weight")
    head = json.dumps({name: {"dtype": dtype, "shape": [16], "data_offsets": [0, 32]}}).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(32))
    accept(mine, path)
    with pytest.raises(BadBundle):
        load(mine)


@pytest.mark.parametrize(
    "code",
    [
        "fn main() {}",
        "@compute @workgroup_size(1) fn other() {}",
        "@compute @workgroup_size(1024) fn main() {}",
        "@group(0) @binding(7) var<storage> z: array<f32>;\n@compute @workgroup_size(1) fn main() { _ = z[0]; }",
        "@group(1) @binding(0) var<storage> z: array<f32>;\n@compute @workgroup_size(1) fn main() { _ = z[0]; }",
        "@fragment fn main() {}",
    ],
)
def test_shaders_that_do_not_fit_the_plan(code: str, mine: Path) -> None:
    path = any_file(mine, ".wgsl")
    path.write_text(code)
    accept(mine, path)
    with pytest.raises(BadBundle, match=path.name):
        load(mine)
