"""docs/bundle-format.md describes every field of real bundles, and no other; it names all that the runtime knows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundles import whole_plan
from safetensors import safe_open

import intaglio
from intaglio.runtime import contract, designs_file, plan_file
from intaglio.runtime.instruments import golden
from intaglio.runtime.limits import ENABLES, FEATURES, PIECE, TIERS
from intaglio.runtime.plan import ACCESS, DTYPES, KINDS, Choice

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "bundle-format.md").read_text()
# Whisper with languages, language models of f32 with f16 caches and of 4 bits, a model whose sizes vary, one with sizes
# that follow from others, and encoders.
COMPILED = {
    "whisper": ("whisper-merged-18", {}),
    "language": ("llama-optimum-18", {"precision": "f16"}),
    "packed": ("llama-optimum-18", {"quantize": "q4"}),
    "plain": ("mlp-dynamo-18", {}),
    "strided": ("strided.onnx", {"bind": {"N": range(9, 65)}}),
    "embeds": ("encoders/minilm", {}),
    "classifies": ("encoders/distilbert", {}),
}
Bundles = dict[str, Path]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    folder = tmp_path_factory.mktemp("format")
    return {
        name: intaglio.compile(ROOT / "tests" / "fixtures" / fixture, folder / name, **options).folder
        for name, (fixture, options) in COMPILED.items()
    }


def section(heading: str) -> str:
    """What stands under a heading, up to the next one of its level or a higher one."""
    level, title = re.search(rf"^(#+) ({re.escape(heading)})$", TEXT, re.M).groups()
    rest = TEXT.split(f"\n{level} {title}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.M)[0]


def tables(heading: str) -> list[list[list[str]]]:
    """The tables of a section, without those of sections inside: rows of cells, the first row the headings."""
    own = re.split(r"^#+ ", section(heading), maxsplit=1, flags=re.M)[0]
    found = re.findall(r"(?:^\|.*\n?)+", own, re.M)
    return [
        [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.strip().splitlines()]
        for table in found
    ]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def column(heading: str, table: int = 0) -> list[str]:
    """The names in the first column of a table."""
    return [name for row in tables(heading)[table][2:] for name in names(row[0])]


def paths(data: Any, documented: set[str], path: str = "") -> Iterator[str]:
    """The path of every field in `data`. Items of lists are [], or .0, .1, ... where the page lists these."""
    if path:
        yield path
    if isinstance(data, dict):
        free = any(name == f"{path}.*" or name.startswith(f"{path}.*.") for name in documented)
        for key, value in data.items():
            yield from paths(value, documented, f"{path}.{'*' if free else key}" if path else key)
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from paths(value, documented, f"{path}.{i}" if f"{path}.0" in documented else f"{path}[]")


def assert_described(heading: str, files: list[Any], table: int = 0) -> None:
    """Every field of these files is in the table, and each of those is in one of the files."""
    rows = tables(heading)[table]
    assert rows[0] == ["field", "type", "meaning"]
    documented = column(heading, table)
    assert len(set(documented)) == len(documented), "a field is described twice"
    real = {path for file in files for path in paths(file, set(documented))}
    plain = {path for path in real if path.endswith(("[]", ".*"))} - set(
        documented
    )  # items that the list is said to have
    assert real - plain == set(documented)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_plan(bundles: Bundles) -> None:
    assert_described("plan.json", [read(folder / "plan.json") for folder in bundles.values()])


def test_the_designs(bundles: Bundles) -> None:
    """With a choice by size and scratch, which these small bundles do not have."""
    by_size = {"amd": {"matmul 8": Choice(("rows8", "rows16"), "new_tokens", (32,))}}
    more = json.loads(designs_file.write(replace(whole_plan(bundles["plain"]), profiles=by_size, scratch=(1024,))))
    assert_described("designs.json", [more, *(read(folder / "designs.json") for folder in bundles.values())])


def test_the_constants_of_a_language_model(bundles: Bundles) -> None:
    assert_described(
        "Of a language model", [read(bundles[name] / "generation.json") for name in ("language", "packed")]
    )


def test_the_constants_of_a_whisper(bundles: Bundles) -> None:
    assert_described("Of a Whisper", [read(bundles["whisper"] / "generation.json")])


def test_the_constants_of_an_encoder(bundles: Bundles) -> None:
    """A classifier has some, a model that embeds texts has the others."""
    assert_described("Of an encoder", [read(bundles[name] / "generation.json") for name in ("embeds", "classifies")])
    assert column("Encoders") == list(contract.POOLINGS)


def test_the_golden_values(bundles: Bundles) -> None:
    listed = []
    for folder in bundles.values():
        with safe_open(folder / golden.FILE, framework="numpy") as file:
            listed.append(json.loads(file.metadata()["checks"]))
            assert file.metadata().keys() == {"checks"}
            keys = [re.sub(r"^\d+\.", "i.", key) for key in file.keys()]  # noqa: SIM118
            named = {re.sub(r"^i\.(in|at|is|f16)\.(?!steps$).+", r"i.\1.NAME", key) for key in keys}
            tensors = {"i.in.NAME", "i.at.NAME", "i.is.NAME", "i.f16.NAME", "i.steps.at", "i.steps.is", "i.f16.steps"}
            assert named <= tensors
    assert_described("golden.safetensors", listed)


def test_every_file_is_listed(bundles: Bundles) -> None:
    listed = {name.replace("*", "X").replace("NNNNN", "00001") for name in column("Files")}
    real = set()
    for folder in bundles.values():
        for path in folder.rglob("*"):
            if path.is_file():
                name = str(path.relative_to(folder))
                real.add(str(Path(name).with_name("X.wgsl")) if name.endswith(".wgsl") else name)
    assert real == listed


def test_formats_and_limits_are_those_of_the_runtime() -> None:
    assert f"# The bundle format `{plan_file.FORMAT}`" in TEXT and f"`{designs_file.FORMAT}`" in TEXT
    assert f"{PIECE:,} bytes" in TEXT


def test_every_word_is_described() -> None:
    assert column("Access") == list(ACCESS)
    assert column("Element types") == list(DTYPES)
    assert set(column("Memory")) == set(KINDS)
    assert set(column("Features")) == set(TIERS) >= FEATURES.keys() >= ENABLES.keys()
    assert all(f"`{line}`" in section("Features") for line in ENABLES.values())


def test_access_words_say_what_shaders_declare() -> None:
    for row in tables("Access")[0][2:]:
        (word,) = names(row[0])
        use, declared = ACCESS[word], names(row[2])[0]
        assert ("read_write" in declared) == (use.write and not use.image)
        assert declared.startswith("texture_storage_2d<") == use.image
        assert not use.formats or set(use.formats) >= set(re.findall(r"rgba\d+\w+", declared)), word
        assert not use.formats or set(use.formats) == set(re.findall(r"rgba\d+[a-z]+", row[2])), word


def test_every_name_of_the_contract_is_described(bundles: Bundles) -> None:
    """Programs, symbols, inputs, outputs and states: those of the contract, and those of real bundles."""
    own = {value for name, value in vars(contract).items() if name.isupper() and isinstance(value, str)}
    programs, tensors, symbols = (
        column("Programs, inputs, outputs and states"),
        column("Programs, inputs, outputs and states", 1),
        column("Symbols"),
    )
    kinds = {contract.WHISPER, contract.LANGUAGE, contract.ENCODER, contract.PLAIN}
    assert f"`{contract.FREE}`" in TEXT  # a prefix, not a name
    assert own - kinds - {contract.FREE} == {*programs, *symbols, *(name for name in tensors if "." not in name)}
    assert {name for row in tables("Symbols")[0][2:] for name in names(row[1])} <= kinds
    for kind in ("whisper", "language", "packed", "embeds", "classifies"):
        plan = plan_file.read(bundles[kind])
        assert plan.programs.keys() <= set(programs) and plan.symbols.keys() <= set(symbols)
        seen = {re.sub(r"\.\d+\.", ".N.", b.name) for b in plan.buffers if b.kind in ("input", "output", "state")}
        assert seen <= set(tensors)
    assert column("Sampling") == list(contract.SAMPLING_OPTIONS)


def test_links_go_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", TEXT, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
