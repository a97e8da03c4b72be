"""A second runtime, written from docs/bundle-format.md alone: it shows that the page says all that one needs.

It knows nothing of Intaglio's code, and wgpu only by its public calls. It is small and slow: every run is a submit.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import wgpu

PIECE = 4 << 20
TEXEL = {"rgba32float": 16, "rgba16float": 8, "rgba32uint": 16}
NUMBER = {"rgba32float": np.float32, "rgba16float": np.float16, "rgba32uint": np.uint32}
BUFFER = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST | wgpu.BufferUsage.COPY_SRC
TEXTURE = (
    wgpu.TextureUsage.TEXTURE_BINDING
    | wgpu.TextureUsage.STORAGE_BINDING
    | wgpu.TextureUsage.COPY_DST
    | wgpu.TextureUsage.COPY_SRC
)
Array = np.ndarray


def size(of: int | str, symbols: Mapping[str, int]) -> int:
    """The section "Sizes"."""
    if isinstance(of, int):
        return of
    term = r"(?:\d+\*)?(?:[A-Za-z_]\w*|\d+)"
    if not re.fullmatch(rf"-?{term}(?:[-+]{term})*", of, re.ASCII):
        raise ValueError(of)
    total = 0
    for sign, factor, symbol, number in re.findall(r"([-+]?)(?:(\d+)\*)?(?:([A-Za-z_]\w*)|(\d+))", of, re.ASCII):
        value = symbols[symbol] if symbol else int(number)
        total += (-1 if sign == "-" else 1) * int(factor or 1) * value
    return total


def complete(listed: Mapping[str, Sequence[Any]], given: Mapping[str, int]) -> dict[str, int]:
    """The section "Symbols"."""
    symbols: dict[str, int] = {}
    for name, (least, most, *rule) in listed.items():
        if rule:
            symbols[name] = math.prod(size(s, symbols) for s in rule[0]["of"]) // rule[0]["per"]
        else:
            symbols[name] = given.get(name, least)
        if not least <= symbols[name] <= most:
            raise ValueError(f"{name} is {symbols[name]}, expected {least} to {most}")
    return symbols


def workgroups(grid: Sequence[Any], symbols: Mapping[str, int]) -> list[int]:
    return [
        d if isinstance(d, int) else math.ceil(math.prod(size(s, symbols) for s in d["of"]) / d["per"]) for d in grid
    ]


def words(dtype: str) -> type:
    """The section "Element types"."""
    return np.float32 if dtype[0] == "f" or dtype == "bf16" else np.int32 if dtype[0] == "i" else np.uint32


class Bundle:
    """A bundle on a device, with one session."""

    def __init__(self, folder: Path, device: wgpu.GPUDevice) -> None:
        self.folder, self.device = folder, device
        self.plan = json.loads((folder / "plan.json").read_text())
        if self.plan["format"] != "intaglio-2":
            raise ValueError("compile the model again")
        self.layouts: dict[str, Any] = {}
        self.pipelines = {name: self._pipeline(name, kernel) for name, kernel in self.plan["kernels"].items()}
        self.memory = [self._allocate(b) for b in self.plan["buffers"]]
        self.names = {
            b["name"]: i for i, b in enumerate(self.plan["buffers"]) if b["kind"] in ("input", "output", "state")
        }
        self._upload()
        self.block = 256 * max(1, math.ceil(4 * len(self.plan["symbols"]) / 256))
        self.uniform = device.create_buffer(size=self.block, usage=wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST)
        self.groups = {name: [self._group(*step) for step in p["steps"]] for name, p in self.plan["programs"].items()}

    def file(self, name: str) -> bytes:
        content = (self.folder / name).read_bytes()
        listed = self.plan["files"][name]
        if (len(content), hashlib.sha256(content).hexdigest()) != (listed["bytes"], listed["sha256"]):
            raise ValueError(f"{name} was changed")
        return content

    # pipelines, by the section "Access"

    def _pipeline(self, name: str, kernel: Mapping[str, Any]) -> wgpu.GPUComputePipeline:
        bindings = [self._binding(access) for access in kernel["access"]]
        bindings += [{"buffer": {"type": "uniform"}}] if kernel["uniform"] else []
        entries = [{"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, **b} for i, b in enumerate(bindings)]
        self.layouts[name] = self.device.create_bind_group_layout(entries=entries)
        return self.device.create_compute_pipeline(
            layout=self.device.create_pipeline_layout(bind_group_layouts=[self.layouts[name]]),
            compute={
                "module": self.device.create_shader_module(code=self.file(kernel["file"]).decode()),
                "entry_point": "main",
            },
        )

    def _binding(self, access: str) -> dict[str, Any]:
        how, what, *kind = access.split()
        if what == "buffer":
            return {"buffer": {"type": "storage" if how == "write" else "read-only-storage"}}
        if what == "image":
            return {"storage_texture": {"access": f"{how}-only", "format": kind[0]}}
        return {"texture": {"sample_type": "uint" if kind == ["u32"] else "unfilterable-float"}}

    # memory, by the sections "Memory" and "Weights"

    def _allocate(self, b: Mapping[str, Any]) -> Any:
        if "texture" in b:
            return self.device.create_texture(size=(*b["texture"], 1), format=b["format"], usage=TEXTURE)
        return self.device.create_buffer(size=b["bytes"], usage=BUFFER)

    def _upload(self) -> None:
        tensors: dict[tuple[str, str], bytes] = {}
        for name, file in self.plan["files"].items():
            if "pieces" in file:
                tensors |= {(name, tensor): content for tensor, content in self._tensors(name, file["pieces"])}
        for i, b in enumerate(self.plan["buffers"]):
            if b["kind"] == "weight":
                self._put(i, b"".join(tensors[file, b["name"]] for file in b["files"]))

    def _tensors(self, name: str, hashes: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        content = self.file(name)
        pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
        if [hashlib.sha256(piece).hexdigest() for piece in pieces] != list(hashes):
            raise ValueError(f"a piece of {name} was changed")
        end = 8 + int.from_bytes(content[:8], "little")
        for tensor, described in json.loads(content[8:end]).items():
            if tensor != "__metadata__":
                first, last = described["data_offsets"]
                yield tensor, content[end + first : end + last]

    def _put(self, index: int, data: bytes) -> None:
        b = self.plan["buffers"][index]
        if "texture" not in b:
            self.device.queue.write_buffer(self.memory[index], 0, data)
            return
        (width, height), row = b["texture"], b["texture"][0] * TEXEL[b["format"]]
        data = data.ljust(height * row, b"\0")
        layout = {"bytes_per_row": row, "rows_per_image": height}
        self.device.queue.write_texture({"texture": self.memory[index]}, data, layout, (width, height, 1))

    def write(self, name: str, array: Array, first: int = 0) -> None:
        """The elements of an input or a state from `first` on, which is 0 for textures."""
        index = self.names[name]
        b = self.plan["buffers"][index]
        data = np.ascontiguousarray(array, NUMBER[b["format"]] if "texture" in b else words(b["dtype"]))
        if first:
            self.device.queue.write_buffer(self.memory[index], 4 * first, data)
        else:
            self._put(index, data.tobytes())

    def read(self, name: str, symbols: Mapping[str, int]) -> Array:
        index = self.names[name]
        b = self.plan["buffers"][index]
        shape = [size(d, symbols) for d in b.get("shape", [])]
        if "texture" in b:
            (width, height), row = b["texture"], b["texture"][0] * TEXEL[b["format"]]
            layout = {"bytes_per_row": row, "rows_per_image": height}
            data: Any = self.device.queue.read_texture({"texture": self.memory[index]}, layout, (width, height, 1))
            numbers = np.frombuffer(data, NUMBER[b["format"]])
        else:
            data: Any = self.device.queue.read_buffer(self.memory[index])
            numbers = np.frombuffer(data, words(b["dtype"]))
        return numbers[: math.prod(shape)].reshape(shape)

    # the section "Running a program"

    def _group(self, kernel: str, buffers: Sequence[int], grid: Any) -> tuple[str, Any, Any]:
        memory = [self.memory[i] for i in buffers]
        resources: list[Any] = [{"buffer": m} if isinstance(m, wgpu.GPUBuffer) else m.create_view() for m in memory]
        if self.plan["kernels"][kernel]["uniform"]:
            resources.append({"buffer": self.uniform, "offset": 0, "size": self.block})
        entries = [{"binding": i, "resource": r} for i, r in enumerate(resources)]
        return kernel, self.device.create_bind_group(layout=self.layouts[kernel], entries=entries), grid

    def run(self, program: str, **given: int) -> dict[str, int]:
        """Run a program once; gives the value of every symbol."""
        symbols = complete(self.plan["symbols"], given)
        self.device.queue.write_buffer(self.uniform, 0, np.array([*symbols.values(), 0], np.uint32)[: self.block // 4])
        encoder = self.device.create_command_encoder()
        pass_ = encoder.begin_compute_pass()
        for kernel, group, grid in self.groups[program]:
            pass_.set_pipeline(self.pipelines[kernel])
            pass_.set_bind_group(0, group)
            pass_.dispatch_workgroups(*workgroups(grid, symbols))
        pass_.end()
        self.device.queue.submit([encoder.finish()])
        return symbols


# golden.safetensors


def golden(bundle: Bundle) -> Iterator[tuple[str, str, float, float]]:
    """(program, output, its largest error, the error allowed) of every check."""
    content = bundle.file("golden.safetensors")
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    types = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32, "U32": np.uint32, "BOOL": np.bool_}

    def tensor(name: str) -> Array:
        first, last = header[name]["data_offsets"]
        array = np.frombuffer(content[end + first : end + last], types[header[name]["dtype"]])
        return array.reshape(header[name]["shape"])

    for i, check in enumerate(json.loads(header["__metadata__"]["checks"])):
        for name in check["inputs"]:
            array, shape = tensor(f"{i}.in.{name}"), bundle.plan["buffers"][bundle.names[name]].get("shape", [])
            if array.ndim and isinstance(shape[-1], int) and array.shape[-1] < shape[-1]:
                array = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, shape[-1] - array.shape[-1])], mode="edge")
            bundle.write(name, array)
        symbols = bundle.run(check["program"], **check["symbols"])
        for name, tolerance in check["expected"].items():
            values = bundle.read(name, symbols).reshape(-1)[tensor(f"{i}.at.{name}")].astype(np.float64)
            error = np.abs(values - tensor(f"{i}.is.{name}")).max()
            yield check["program"], name, float(error), tolerance


# the sections "Language models" and "Whisper"


def continued(bundle: Bundle, prompt: Sequence[int], count: int) -> list[int]:
    """Up to `count` tokens after a prompt, the likeliest each time."""
    settings = json.loads(bundle.file("generation.json"))
    defaults = {"temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 1}
    bundle.write("sampling", np.array([defaults[name] for name in settings["sampling_order"]]))
    chunk = settings["chunk"]
    for first in range(0, len(prompt), chunk):
        part = prompt[first : first + chunk]
        bundle.write("tokens", np.array(part), first)
        bundle.run("prefill", past=first, new_tokens=len(part))
    return list(_stepped(bundle, len(prompt), count, settings["end"], {}))


def _stepped(bundle: Bundle, n: int, count: int, end: Sequence[int], symbols: dict[str, int]) -> Iterator[int]:
    """The tokens from row n on, of which prefill wrote the first one."""
    for i in range(count):
        if i:
            bundle.run("step", past=n + i - 1, **symbols)
        token = int(bundle.read("tokens", {}).reshape(-1)[n + i])
        if token in end:
            return
        yield token


class Recording:
    """What the tokens of a recording are, window by window."""

    def __init__(self, bundle: Bundle, samples: Array) -> None:
        self.bundle, self.samples = bundle, samples
        self.settings = json.loads(bundle.file("generation.json"))
        self.frames = max(1, len(samples) // self.settings["hop"])

    def pieces(self, language: str | None, timed: bool) -> Iterator[tuple[float, float, list[int]]]:
        """Seconds at which each piece starts and ends, and its tokens."""
        s, bundle = self.settings, self.bundle
        self._measure()
        self._set_rules()
        seek, spoken = 0, s["languages"].get(language)
        while seek < self.frames:
            self._mel(seek, max(0, s["frames"] - (self.frames - seek)))
            bundle.run("encode")
            if s["multilingual"] and spoken is None:
                bundle.write("tokens", np.array([s["start"]]))
                symbols = bundle.run("detect", past=0)
                likeliest = int(bundle.read("languages", symbols).argmax())
                spoken = [*s["languages"].values()][likeliest]
            prompt = [s["start"], *([spoken, s["tasks"]["transcribe"]] if s["multilingual"] else [])]
            prompt += [] if timed else [s["no_timestamps"]]
            symbols = {"begin": len(prompt), "timed": int(timed)}
            bundle.write("tokens", np.array(prompt))
            bundle.run("prefill", past=0, new_tokens=len(prompt), **symbols)
            tokens = list(_stepped(bundle, len(prompt), s["max_length"] - len(prompt), [s["end"]], symbols))
            size = min(s["frames"], self.frames - seek)
            parts, advance = cut(tokens, size, s) if timed else ([(0, size, tokens)], size)
            for start, end, part in parts:
                if start != end and any(t < s["end"] for t in part):
                    yield self._seconds(seek + start), self._seconds(seek + end), [t for t in part if t < s["end"]]
            seek += advance

    def _seconds(self, frame: int) -> float:
        return min(frame, self.frames) * self.settings["hop"] / self.settings["rate"]

    def _set_rules(self) -> None:
        """Write the states by which tokens are chosen."""
        s = self.settings
        sets = np.zeros((2, -(-s["vocabulary"] // 32) * 32), np.uint8)
        for row, name in enumerate(("suppress", "suppress_first")):
            sets[row, s[name]] = 1
        self.bundle.write("suppress", np.packbits(sets, axis=1, bitorder="little").view("<u4"))
        numbers = {"temperature": 0, "max_initial_timestamp": 50}
        self.bundle.write("sampling", np.array([numbers[name] for name in s["sampling_order"]]))

    def _measure(self) -> None:
        s = self.settings
        self.bundle.write("loudest", np.full(1, s["silence"]))
        audible = (len(self.samples) + s["context"] // 2) // s["hop"] + 1
        for frame in range(0 if self.frames > s["frames"] else s["frames"], audible, s["frames"]):
            self._mel(frame, 0)

    def _mel(self, frame: int, padding: int) -> None:
        s = self.settings
        first, length = frame * s["hop"] - s["context"] // 2, s["hop"] * s["frames"] + s["context"]
        window = np.zeros(length, np.float32)
        part = self.samples[max(0, first) : first + length]
        window[max(0, -first) : max(0, -first) + len(part)] = part
        self.bundle.write("audio", window)
        self.bundle.run("mel", opening=int(frame == 0), padding=padding)


def cut(tokens: list[int], size: int, settings: Mapping[str, Any]) -> tuple[list[tuple[int, int, list[int]]], int]:
    """The paragraph "Cutting": pieces, and how many frames to go on by."""
    first_time, step = settings["first_timestamp"], settings["frames_per_timestamp"]

    def frame(token: int) -> int:
        return (token - first_time) * step

    times = [token >= first_time for token in tokens]
    finished = len(tokens) >= 2 and times[-1] and not times[-2]
    cuts = [i for i in range(1, len(tokens)) if times[i - 1] and times[i]]
    if not cuts:
        last = [frame(token) for token in tokens if token >= first_time][-1:]
        return [(0, (last[0] if last else 0) or size, tokens)], size
    advance = size if finished else frame(tokens[cuts[-1] - 1]) or size
    places = [0, *cuts, *([len(tokens)] if finished else [])]
    return [(frame(tokens[a]), frame(tokens[b - 1]), tokens[a:b]) for a, b in pairwise(places)], advance
