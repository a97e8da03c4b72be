"""A bundle is data from strangers: what the reader takes is safe to run, and all else is a BadBundle, never a crash."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity import Build, compiled, device
from safetensors.numpy import save_file

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.runtime import plan as plans
from intaglio.runtime import plan_file
from intaglio.runtime.engine import Engine
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.session import Session
from intaglio.runtime.sizes import evaluate_size, workgroups

T = dim(Symbol("new_tokens", 1, 40))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state, a weight, textures, buffers, and a size that varies."""
    b = Build()
    x = b.input("x", 1, T, 8)
    rows = b.Write(b.Linear(x, b.weight(8, 8)), b.state("rows", 1, 64, 8), at=0)
    graph = b.output(b.Neg(b.Gelu(rows)), b.Greater(x, b.constant(np.float32(0))))
    return compiled(graph, tmp_path_factory.mktemp("plan") / "bundle")


@pytest.fixture(scope="module")
def data(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "plan.json").read_text())


def read(folder: Path, content: Any) -> plans.Plan:
    """The plan of a bundle whose plan.json holds this text, or this as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "plan.json").write_text(text)
    return plan_file.read(folder)


def put(data: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at the path; DELETE removes it."""
    result = copy.deepcopy(data)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    if value is DELETE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return result


DELETE = object()


def places(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path in a JSON tree, but for the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [p for key, inner in items for p in [(*path, key), *places(inner, (*path, key))]]


def test_the_plan_itself_is_fine(data: dict[str, Any], tmp_path: Path) -> None:
    plan = read(tmp_path, data)
    assert_safe(plan)
    assert {letter for kernel in plan.kernels.values() for letter in kernel.access} >= {"r", "w", "i"}
    assert {b.kind for b in plan.buffers} == {"weight", "input", "output", "state"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"plan"',
        "{}",
        "[" * 100_000,
        '{"format":' * 50_000,
        "\x00",
        "\ud800",
        "NaN",
        '{"a": 1e999}',
    ],
    ids=lambda text: text[:8],
)
def test_no_json_of_a_plan(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadBundle):
        plan_file.read(tmp_path)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="no bundle"):
        plan_file.read(tmp_path)
    with pytest.raises(BadBundle, match="no bundle"):
        plan_file.read(tmp_path / "nothing")
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(BadBundle):
        plan_file.read(tmp_path)


@pytest.mark.parametrize("key", ["format", "kind", "symbols", "files", "kernels", "buffers", "programs"])
def test_every_part_is_wanted(key: str, data: dict[str, Any], tmp_path: Path) -> None:
    for value in (DELETE, None, 7, [7], {"a": 7}):
        with pytest.raises(BadBundle):
            read(tmp_path, put(data, (key,), value))


STEP = ("programs", "main", "steps", 0)
CHOICE = (*STEP, 3)
OTHER = (*CHOICE, "others", "rows4")
HUGE = 10**30

BROKEN: list[tuple[tuple[str | int, ...], Any]] = [
    (("format",), "intaglio-0"),
    (("symbols", "new_tokens"), [1]),
    (("symbols", "new_tokens"), [5, 1]),
    (("symbols", "new_tokens"), [-1, 5]),
    (("symbols", "new_tokens"), [0.5, 5]),
    (("symbols", "new_tokens"), ["1", "5"]),
    (("symbols", "new_tokens"), [1, 2**31]),
    (("symbols", "new_tokens"), [1, True]),
    (("symbols", "new_tokens"), DELETE),
    (("symbols", "not a name"), [0, 1]),
    (("symbols",), {f"s{i}": [0, 1] for i in range(20_000)}),
    *(
        (("files", name), "0" * 64)
        for name in ("../evil", "/etc/passwd", "a/b", "kernels/../../x", "..", ".", "", "a\nb", "C:\\x", "kernels/.x")
    ),
    (("files", "x"), 7),
    (("files", "x"), "abc"),
    (("buffers", 0, "kind"), "secret"),
    (("buffers", 0, "kind"), []),
    *((("buffers", 0, "bytes"), n) for n in (0, -16, 7, HUGE, 2**28 + 4, 16.0, True, "16", None, [16], DELETE)),
    *(
        (("buffers", 0, "texture"), t)
        for t in ([16], [0, 1], [-16, 1], [16, 1, 1], [16.0, 1], ["16", "1"], [HUGE, 1], [8193, 1], 7)
    ),
    (("buffers", 0, "shape"), 7),
    (("buffers", 0, "shape"), [-1, 8]),
    (("buffers", 0, "shape"), [[8]]),
    (("buffers", 0, "shape"), [1.5]),
    (("buffers", 0, "shape"), [HUGE]),
    (("buffers", 0, "shape"), ["new_tokens-100"]),
    (("buffers", 0, "shape"), ["new_tokens*new_tokens"]),
    (("buffers", 0, "shape"), ["1000000*T"]),
    (("buffers", 0, "shape"), [""]),
    (("buffers", 0, "shape"), ["new_tokens+"]),
    (("buffers", 0, "shape"), ["T T"]),
    (("buffers", 0, "shape"), ["U"]),
    (("buffers", 0, "shape"), ["__import__('os')"]),
    (("buffers", 0, "shape"), ["9" * 5000]),
    (("buffers", 0, "dtype"), "f128"),
    (("buffers", 0, "dtype"), ""),
    (("buffers", 0, "dtype"), ["f32"]),
    (("buffers", 0, "name"), ""),
    (("buffers", 0, "name"), 7),
    (("buffers", 0, "name"), "rows"),
    (("buffers", 0, "colour"), "red"),
    (("programs", "main"), None),
    (("programs", "main", "inputs"), ["x"]),
    *((("programs", "main", "inputs", "x"), i) for i in (-1, 99, HUGE, "0", 0.0, None, False, [0])),
    (("programs", "main", "inputs", "other"), 0),
    (("programs", "main", "outputs", "y0"), 99),
    (("programs", "main", "steps"), {}),
    (STEP, []),
    (STEP, "abc"),
    (STEP, {}),
    ((*STEP, 0), "no such kernel"),
    ((*STEP, 0), []),
    ((*STEP, 1), []),
    ((*STEP, 1), "012"),
    *(((*STEP, 1, 0), i) for i in (-1, 99, HUGE, "0", 0.0, None, True)),
    ((*STEP, 2), [1, 1]),
    ((*STEP, 2), [1, 1, 1, 1]),
    ((*STEP, 2), 7),
    ((*STEP, 2), "111"),
    *(((*STEP, 2, 0), n) for n in (-1, 65_536, HUGE, 1.0, "1", None, True, [], {})),
    ((*STEP, 2, 0), {"of": ["new_tokens"]}),
    ((*STEP, 2, 0), {"per": 4}),
    ((*STEP, 2, 0), {"of": ["new_tokens"], "per": 4, "and": 1}),
    *(
        ((*STEP, 2, 0), {"of": of, "per": 4})
        for of in (
            "new_tokens",
            7,
            None,
            [["new_tokens"]],
            [-1],
            ["new_tokens-2"],
            ["U"],
            [1.5],
            [HUGE],
            [True],
            {"new_tokens": 1},
        )
    ),
    *(((*STEP, 2, 0), {"of": ["new_tokens"], "per": per}) for per in (0, -1, 1.5, "4", None, True)),
    ((*STEP, 2, 0), {"of": ["10000*T"], "per": 1}),
    *((CHOICE, value) for value in (7, "rows8", [], {}, {"case": "a", "design": "b"}, [["case", "a"]])),
    *(((*CHOICE, key), value) for key in ("case", "design") for value in (DELETE, None, 7, [])),
    *(((*CHOICE, "others"), value) for value in (DELETE, None, 7, "rows4", [], ["rows4"], {"rows4": None})),
    ((*CHOICE, "and"), 1),
    *((OTHER, value) for value in ([], {}, "ab", ["matmul_8x8_rows4"], ["matmul_8x8_rows4", [1, 1, 1], {}])),
    *(((*OTHER, 0), value) for value in ("no such kernel", "../matmul_8x8_rows4", [], {}, 0, None)),
    ((*OTHER, 0), "elementwise_greater"),  # whose bindings are others
    *(((*OTHER, 1), grid) for grid in ([1, 1], 7, "111", None, {"0": 1})),
    *(
        ((*OTHER, 1, 0), n)
        for n in (-1, 65_536, HUGE, 1.0, "1", True, {"of": ["U"], "per": 1}, {"of": [HUGE], "per": 1})
    ),
]


@pytest.mark.parametrize("path, value", BROKEN, ids=lambda x: "deleted" if x is DELETE else str(x)[:40])
def test_broken(path: tuple[str | int, ...], value: Any, data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadBundle) as error:
        read(tmp_path, put(data, path, value))
    assert "\n" not in str(error.value)


def kernel_of(data: dict[str, Any]) -> tuple[str, str]:
    """The place of the first step's kernel."""
    return ("kernels", data["programs"]["main"]["steps"][0][0])


@pytest.mark.parametrize(
    "key, value",
    [
        ("file", "plan.json"),
        ("file", "../x"),
        ("file", None),
        ("sha256", "0" * 64),
        ("sha256", 7),
        ("access", "rrz"),
        ("access", "rrru"),
        ("access", "r" * 9),
        ("access", 7),
        ("access", ["r", "w"]),
        ("access", ""),
        ("uniform", 1),
        ("uniform", "yes"),
        ("uniform", None),
        ("entry", "main"),
        ("uniform", DELETE),
        ("access", DELETE),
    ],
)
def test_broken_kernels(key: str, value: Any, data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadBundle):
        read(tmp_path, put(data, (*kernel_of(data), key), value))


def test_no_buffer_is_read_and_written_by_one_step(data: dict[str, Any], tmp_path: Path) -> None:
    for i, (_, buffers, *_) in enumerate(data["programs"]["main"]["steps"]):
        kinds = [bool(data["buffers"][b].get("texture")) for b in buffers]
        for j, b in enumerate(buffers[:-1]):
            if kinds[j] == kinds[-1]:
                with pytest.raises(BadBundle, match="writes what it reads"):
                    read(tmp_path, put(data, ("programs", "main", "steps", i, 1, len(buffers) - 1), b))


def test_no_weight_is_written(data: dict[str, Any], tmp_path: Path) -> None:
    weights = [i for i, b in enumerate(data["buffers"]) if b["kind"] == "weight"]
    for i, (_, buffers, *_) in enumerate(data["programs"]["main"]["steps"]):
        for w in weights:
            with pytest.raises(BadBundle):
                read(tmp_path, put(data, ("programs", "main", "steps", i, 1, len(buffers) - 1), w))


def test_textures_and_buffers_are_not_mixed_up(data: dict[str, Any], tmp_path: Path) -> None:
    """Every binding with every buffer of the other kind."""
    refused = 0
    for i, (_, buffers, *_) in enumerate(data["programs"]["main"]["steps"]):
        for j, b in enumerate(buffers):
            for other, described in enumerate(data["buffers"]):
                if bool(described.get("texture")) != bool(data["buffers"][b].get("texture")):
                    with pytest.raises(BadBundle):
                        read(tmp_path, put(data, ("programs", "main", "steps", i, 1, j), other))
                    refused += 1
    assert refused


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.integers(-3, 20),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            "new_tokens",
            "new_tokens-1",
            "2*new_tokens+3",
            "-new_tokens",
            "past",
            "f32",
            "weight",
            "r",
            "../x",
            "kernels/x.wgsl",
        ]
    ),
    st.recursive(st.integers(0, 9), lambda inner: st.lists(inner, max_size=4), max_leaves=6),
    st.dictionaries(st.sampled_from(["of", "per", "x", "kind"]), st.integers(0, 9), max_size=3),
    st.just(DELETE),
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_what_is_accepted_is_safe(choice: st.DataObject, data: dict[str, Any], tmp_path: Path) -> None:
    """Up to three places of a plan hold junk: it is refused, or still all that the runtime relies on holds."""
    changed = data
    for _ in range(choice.draw(st.integers(1, 3))):
        path = choice.draw(st.sampled_from(places(changed)))
        changed = put(changed, path, choice.draw(JUNK))
    try:
        plan = read(tmp_path, changed)
    except BadBundle:
        return
    assert_safe(plan)


def assert_safe(plan: plans.Plan) -> None:
    """What the session takes for granted, said once more and otherwise than in the reader."""
    assert type(plan.kind) is str
    ranges = plan.symbols
    assert all(type(n) is int for pair in ranges.values() for n in pair)
    corners = [{s: pair[(at >> i) & 1] for i, (s, pair) in enumerate(ranges.items())} for at in range(2 ** len(ranges))]
    names = []
    for b in plan.buffers:
        assert type(b.bytes) is int and b.bytes > 0 and b.bytes % 4 == 0
        assert b.texture or b.bytes <= 128 << 20
        if b.texture:
            assert len(b.texture) == 2 and all(type(n) is int and 0 < n <= 8192 for n in b.texture)
            assert b.bytes == 16 * math.prod(b.texture)
        assert type(b.name) is type(b.file) is type(b.dtype) is str
        assert b.kind != "weight" or b.file in plan.files
        if b.kind in ("input", "output", "state"):
            names.append(b.name)
            for symbols in corners:
                shape = [evaluate_size(d, symbols) for d in b.shape]
                assert all(type(n) is int and n >= 0 for n in shape) and 4 * math.prod(shape) <= b.bytes
    assert len(set(names)) == len(names)
    for program in plan.programs.values():
        for name, i in (*program.inputs.items(), *program.outputs.items()):
            assert type(i) is int and i >= 0 and plan.buffers[i].name == name
        for step in program.steps:
            kernel = plan.kernels[step.kernel]
            assert type(kernel.uniform) is bool and len(step.buffers) == len(kernel.access)
            written = [b for b, letter in zip(step.buffers, kernel.access, strict=True) if letter in "ws"]
            assert all(step.buffers.count(b) == 1 for b in written)
            for symbols in corners:
                groups = workgroups(step.grid, symbols)
                assert len(groups) == 3 and all(type(n) is int and 0 <= n <= 65_535 for n in groups)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in plan.files.values())
    assert not any("/" in name.removeprefix("kernels/") or name.startswith(".") for name in plan.files)


# sizes


@pytest.mark.parametrize(
    "size, value",
    [
        (7, 7),
        ("7", 7),
        ("new_tokens", 5),
        ("past+new_tokens", 8),
        ("2*new_tokens-past", 7),
        ("-past+new_tokens", 2),
        ("past+2*new_tokens+10", 23),
        ("new_tokens-1", 4),
        ("1500", 1500),
    ],
)
def test_sizes(size: int | str, value: int) -> None:
    assert evaluate_size(size, {"past": 3, "new_tokens": 5}) == value


@pytest.mark.parametrize("size", ["", "+", "T+", "T T", "T*2", "2**T", "(T)", "T/2", " T", "T\n", "2*", "U", "T+U"])
def test_malformed_sizes(size: str) -> None:
    with pytest.raises(BadBundle):
        evaluate_size(size, {"past": 3, "new_tokens": 5})


@pytest.mark.parametrize(
    "of, per, groups",
    [
        (["new_tokens"], 1, 5),
        (["new_tokens"], 5, 1),
        (["new_tokens"], 4, 2),
        (["new_tokens", 384], 64, 30),
        ([0], 4, 0),
    ],
)
def test_workgroups(of: list, per: int, groups: int) -> None:
    assert workgroups(({"of": of, "per": per}, 1, 1), {"new_tokens": 5}) == (groups, 1, 1)


# files


@pytest.fixture
def mine(bundle: Path, tmp_path: Path) -> Path:
    """A bundle to break."""
    return Path(shutil.copytree(bundle, tmp_path / "mine"))


def load(folder: Path) -> Session:
    return Engine(folder, plan_file.read(folder), device=device()).session()


def any_file(folder: Path, suffix: str) -> Path:
    return next(p for p in sorted(folder.rglob("*")) if p.suffix == suffix)


def accept(folder: Path, path: Path) -> None:
    """Let the plan say that this file is as it is now."""
    digest, name = hashlib.sha256(path.read_bytes()).hexdigest(), str(path.relative_to(folder))
    data = json.loads((folder / "plan.json").read_text())
    data["files"][name] = digest
    for kernel in data["kernels"].values():
        if kernel["file"] == name:
            kernel["sha256"] = digest
    (folder / "plan.json").write_text(json.dumps(data))


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


def test_the_kernels_folder_is_no_link(mine: Path, tmp_path: Path) -> None:
    (mine / "kernels").rename(tmp_path / "elsewhere")
    (mine / "kernels").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadBundle, match="link"):
        load(mine)


def test_the_plan_is_no_link(mine: Path, tmp_path: Path) -> None:
    (mine / "plan.json").rename(tmp_path / "plan.json")
    (mine / "plan.json").symlink_to(tmp_path / "plan.json")
    with pytest.raises(BadBundle, match="link"):
        load(mine)


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    from safetensors.numpy import load_file

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
