"""Weights: streamed whole and in order, told from what is broken, and never in memory twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bundles import store_plan
from safetensors.numpy import load_file, save_file

from intaglio.runtime import files, limits, plan_file, weights
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.plan import Buffer, Plan

TEXTURE = (64, 5)  # vec4s


def described(folder: Path, buffers: Sequence[Buffer]) -> Plan:
    """A plan of nothing but weights, with the files as they are."""
    listed = {path.name: files.describe(path.read_bytes(), pieces=True) for path in folder.glob("*.safetensors")}
    store_plan(folder, Plan("model", {}, {}, tuple(buffers), {}, listed))
    return plan_file.read(folder)


def texture(name: str, file: str, format: str = "rgba32float") -> Buffer:
    size = limits.TEXELS[format] * TEXTURE[0] * TEXTURE[1]
    return Buffer("weight", size, name, files=(file,), texture=TEXTURE, format=format)


def streamed(folder: Path, plan: Plan) -> dict[str, bytes]:
    """Every weight as it arrives, with zeros where nothing does."""
    content = {b.name: bytearray(b.bytes) for b in plan.buffers}
    for index, first, piece in weights.stream(
        folder, plan, dict(enumerate(plan.buffers)), lambda what, done, total: None
    ):
        buffer = plan.buffers[index]
        assert 0 < len(piece) <= weights.PIECE + weights.row_bytes(buffer)
        assert len(piece) % weights.row_bytes(buffer) == first % weights.row_bytes(buffer) == 0
        content[buffer.name][first : first + len(piece)] = piece
    return {name: bytes(array) for name, array in content.items()}


@pytest.mark.parametrize("piece", [1024, 1025, 2047, 4096, 5 * 1024, 1 << 20])
def test_all_that_safetensors_reads_arrives(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Textures whose last row is not full, and buffers, in two files, beside a tensor that nobody wants."""
    for module in files, plan_file, weights:
        monkeypatch.setattr(module, "PIECE", piece)
    random = np.random.default_rng(piece)
    first = {
        "full": random.standard_normal(1280).astype(np.float32),
        "half": random.standard_normal((100, 7)).astype(np.float32),
        "nobody": random.integers(0, 9, 333).astype(np.int32),
        "small": random.standard_normal(1000).astype(np.float16),
    }
    second = {"buffer": random.integers(0, 1 << 31, 777).astype(np.uint32)}
    save_file(first, tmp_path / "a.safetensors", {"format": "ignored"})
    save_file(second, tmp_path / "b.safetensors")
    buffers = [texture("half", "a.safetensors"), Buffer("weight", 777 * 4, "buffer", files=("b.safetensors",))]
    buffers += [texture("small", "a.safetensors", "rgba16float"), texture("full", "a.safetensors")]
    arrived = streamed(tmp_path, described(tmp_path, buffers))
    for file in "a.safetensors", "b.safetensors":
        for name, array in load_file(tmp_path / file).items():
            if name != "nobody":
                assert arrived[name] == array.tobytes().ljust(len(arrived[name]), b"\0")
    assert arrived.keys() == {"full", "half", "small", "buffer"}


@pytest.mark.parametrize("parts", [(1280,), (256, 1024), (256, 512, 512), (512, 0, 768)], ids=str)
def test_a_weight_in_several_files(parts: tuple[int, ...], tmp_path: Path) -> None:
    """Its parts follow one another, whole rows of its texture each, beside weights that are in one of the files."""
    whole = np.random.default_rng(0).standard_normal(1280).astype(np.float32)
    names = [f"{i}.safetensors" for i in range(len(parts))]
    last = 0
    for name, count in zip(names, parts, strict=True):
        save_file({"w": whole[last : last + count], name: np.ones(3, np.float32)}, tmp_path / name)
        last += count
    size = {"texture": TEXTURE, "format": "rgba32float"}
    buffers = [Buffer("weight", 5120, "w", files=tuple(names), **size)]
    buffers += [Buffer("weight", 12, name, files=(name,)) for name in names]
    arrived = streamed(tmp_path, described(tmp_path, buffers))
    assert arrived["w"] == whole.tobytes()
    assert all(arrived[name] == np.ones(3, np.float32).tobytes() for name in names)


def test_a_part_that_is_not_whole_rows(tmp_path: Path) -> None:
    save_file({"w": np.ones(255, np.float32)}, tmp_path / "a.safetensors")
    save_file({"w": np.ones(1025, np.float32)}, tmp_path / "b.safetensors")
    size = {"texture": TEXTURE, "format": "rgba32float"}
    plan = described(tmp_path, [Buffer("weight", 5120, "w", files=("a.safetensors", "b.safetensors"), **size)])
    with pytest.raises(BadBundle, match=r"safetensors is broken"):
        streamed(tmp_path, plan)


def header(tensors: dict[str, object]) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def tensor(first: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - first) // 4], "data_offsets": [first, end]}


BROKEN = {
    "a header that is too short": b"\1",
    "a header that is not there": (1000).to_bytes(8, "little"),
    "a header beyond all bounds": (1 << 62).to_bytes(8, "little"),
    "no JSON": (4).to_bytes(8, "little") + b"{{{{",
    "a deep JSON": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "no object": header({})[:8] + b"[]",
    "no tensor": header({"w": 3}),
    "no offsets": header({"w": {"dtype": "F32"}}) + bytes(16),
    "offsets that are no numbers": header({"w": {"dtype": "F32", "data_offsets": ["0", 16]}}) + bytes(16),
    "three offsets": header({"w": {"dtype": "F32", "data_offsets": [0, 16, 16]}}) + bytes(16),
    "another type": header({"w": tensor(0, 16, "F64")}) + bytes(16),
    "a type that is none": header({"w": {"dtype": ["F32"], "data_offsets": [0, 16]}}) + bytes(16),
    "offsets below zero": header({"w": tensor(-16, 0)}) + bytes(16),
    "offsets that go back": header({"v": tensor(0, 16), "w": tensor(16, 0)}) + bytes(16),
    "a gap": header({"w": tensor(4, 20)}) + bytes(20),
    "an overlap": header({"v": tensor(0, 12), "w": tensor(8, 24)}) + bytes(24),
    "too few bytes": header({"w": tensor(0, 16)}) + bytes(15),
    "too large": header({"w": tensor(0, 20)}) + bytes(20),
    "another name": header({"v": tensor(0, 16)}) + bytes(16),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_broken_files(content: bytes, tmp_path: Path) -> None:
    """Those with the right hash are broken, the others were changed."""
    (tmp_path / "a.safetensors").write_bytes(content)
    plan = described(tmp_path, [Buffer("weight", 16, "w", files=("a.safetensors",))])
    with pytest.raises(BadBundle, match=r"a\.safetensors is broken"):
        streamed(tmp_path, plan)
    (tmp_path / "a.safetensors").write_bytes(content + b"!")
    with pytest.raises(BadBundle, match="its hash differs"):
        streamed(tmp_path, plan)


def test_a_weight_as_a_texture_and_as_a_buffer(tmp_path: Path) -> None:
    """Variants of two steps may store it differently. Three times, or in other parts, is an error."""
    w = np.arange(1280, dtype=np.float32)
    for name in "ab":
        save_file({"w": w}, tmp_path / f"{name}.safetensors")
    both = [texture("w", "a.safetensors"), Buffer("weight", 5120, "w", files=("a.safetensors",))]
    plan, arrived = described(tmp_path, both), [bytearray(5120), bytearray(5120)]
    for index, first, piece in weights.stream(tmp_path, plan, dict(enumerate(both)), lambda what, done, total: None):
        arrived[index][first : first + len(piece)] = piece
    assert arrived == [w.tobytes()] * 2
    for third in both[:1], both[1:]:
        plan = described(
            tmp_path, [*both, *third, Buffer("weight", 5120, "w", files=("a.safetensors", "b.safetensors"))]
        )
        with pytest.raises(BadBundle, match="two weights are the tensor w"):
            streamed(tmp_path, plan)


@pytest.mark.parametrize("at", [0, 8, 60, 200, 5000, -1])
def test_a_bit_that_was_changed(at: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"w": np.ones(1280, np.float32)}, path)
    plan = described(tmp_path, [texture("w", "a.safetensors")])
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadBundle, match="its hash differs"):
        streamed(tmp_path, plan)


def test_nothing_of_a_piece_that_was_changed_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in files, plan_file, weights:
        monkeypatch.setattr(module, "PIECE", 1024)
    path = tmp_path / "a.safetensors"
    save_file({"w": np.ones(1280, np.float32)}, path)
    plan = described(tmp_path, [Buffer("weight", 5120, "w", files=(path.name,))])
    content = bytearray(path.read_bytes())
    content[2048 + 100] ^= 1  # in the third piece
    path.write_bytes(content)
    arrived = 0
    with pytest.raises(BadBundle, match="its hash differs"):
        for _, first, piece in weights.stream(
            tmp_path, plan, dict(enumerate(plan.buffers)), lambda what, done, total: None
        ):
            assert bytes(piece) == np.ones(len(piece) // 4, np.float32).tobytes()
            arrived = first + len(piece)
    assert 0 < arrived <= 2048


LOAD = """
import sys
from pathlib import Path
from intaglio.runtime import designs_file, plan_file
from intaglio.runtime.device import open_device
from intaglio.runtime.engine import Engine
from intaglio.runtime.instruments.measure import peak_memory

def load(folder):
    plan = designs_file.read(Path(folder), plan_file.read(Path(folder)))
    return Engine(Path(folder), plan, device=device).session()

device = open_device()
load(sys.argv[1])
before = peak_memory()
session = load(sys.argv[2])
print(peak_memory() - before)
"""


def test_loading_holds_the_weights_once(tmp_path: Path) -> None:
    """Measured by the peak of a process of its own, whose adapter is software or another kind that keeps less here."""
    sizes = {"small": 2, "large": 128}
    for name, count in sizes.items():
        folder = tmp_path / name
        folder.mkdir()
        tensors = {f"w{i}": np.full(1 << 19, i, np.float32) for i in range(count)}
        save_file(tensors, folder / "a.safetensors")
        size = {"texture": (1024, 128), "format": "rgba32float"}
        described(folder, [Buffer("weight", 2 << 20, n, files=("a.safetensors",), **size) for n in tensors])
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, map(tmp_path.joinpath, sizes))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 1.15 * (256 << 20)
