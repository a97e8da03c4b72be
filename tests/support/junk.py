"""Files from strangers: JSON with junk in it, and what a plan must keep whatever it was read from."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

from hypothesis import strategies as st

from intaglio.runtime.limits import TEXELS
from intaglio.runtime.plan import ACCESS, Dispatch, Plan
from intaglio.runtime.sizes import evaluate_size, workgroups

DELETE = object()


def put(data: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at the path; DELETE removes it."""
    result = copy.deepcopy(data)
    inner: Any = result
    for key in path[:-1]:
        inner = inner[key]
    if value is DELETE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return result


def places(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path in a JSON tree, but for the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [p for key, inner in items for p in [(*path, key), *places(inner, (*path, key))]]


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
            "read buffer",
            "../x",
            "kernels/x.wgsl",
        ]
    ),
    st.recursive(st.integers(0, 9), lambda inner: st.lists(inner, max_size=4), max_leaves=6),
    st.dictionaries(st.sampled_from(["of", "per", "x", "kind"]), st.integers(0, 9), max_size=3),
    st.just(DELETE),
)


def changed(tree: Any, choice: st.DataObject) -> Any:
    """A copy with junk in up to three places."""
    for _ in range(choice.draw(st.integers(1, 3))):
        tree = put(tree, choice.draw(st.sampled_from(places(tree))), choice.draw(JUNK))
    return tree


def assert_safe(plan: Plan) -> None:
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
            assert b.bytes == TEXELS[b.format] * math.prod(b.texture)
        assert type(b.name) is type(b.format) is type(b.dtype) is str
        assert b.kind != "weight" or (b.files and all(plan.files[file].pieces for file in b.files))
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
            for dispatch in (*step.possible, *(d for variant in step.variants.values() for d in variant)):
                assert_dispatch_is_safe(plan, dispatch, corners)
    for name, file in plan.files.items():
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in (file.sha256, *file.pieces))
        assert type(file.bytes) is int and file.bytes >= 0
        assert not file.pieces or len(file.pieces) == math.ceil(file.bytes / (4 << 20))
        *folders, last = name.split("/")
        assert folders in ([], ["kernels"], ["kernels", "variants"]) and not last.startswith(".")


def assert_dispatch_is_safe(plan: Plan, dispatch: Dispatch, corners: list[dict[str, int]]) -> None:
    kernel, buffers, grid = plan.kernels[dispatch.kernel], dispatch.buffers, dispatch.grid
    assert type(kernel.uniform) is bool and len(buffers) == len(kernel.access)
    assert kernel.file in plan.files and kernel.file.endswith(".wgsl")
    for b, access in zip(buffers, kernel.access, strict=True):
        assert access in ACCESS and type(b) is int and 0 <= b < len(plan.buffers)
        if access.startswith("write"):
            assert buffers.count(b) == 1 and plan.buffers[b].kind != "weight"
        if "image" in access:
            assert plan.buffers[b].format == access.split()[2]
        assert ("buffer" in access) == (not plan.buffers[b].texture)
    for symbols in corners:
        groups = workgroups(grid, symbols)
        assert len(groups) == 3 and all(type(n) is int and 0 <= n <= 65_535 for n in groups)
