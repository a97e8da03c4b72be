"""tests/conformance.json is what our runtime computes, and docs/bundle-format.md describes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import conformance
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return json.loads(conformance.FILE.read_text())


def test_the_file_is_up_to_date() -> None:
    assert conformance.FILE.read_text() == conformance.text(), "write it again: python tests/support/conformance.py"


def test_every_section_and_field_is_described(data: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "bundle-format.md").read_text().split("\n## Conformance\n")[1]
    rows = {row.split("|")[1].strip(" `"): row for row in text.splitlines() if row.startswith("| `")}
    sections = {name: cases for name, cases in data.items() if isinstance(cases, list)}
    assert rows.keys() == sections.keys() and data.keys() - sections.keys() == {"format", "files"}
    for name, cases in sections.items():
        inner = {
            key
            for case in cases
            for value in case.values()
            if isinstance(value, list)
            for item in value
            if isinstance(item, dict)
            for key in item
        }
        fields = {field for case in cases for field in case} | (
            inner if name in ("prefixes", "windows", "cuts") else set()
        )
        assert fields <= set(re.findall(r"`(\w+)`", rows[name])), name
        assert len({json.dumps(case) for case in cases}) == len(cases) > 1, f"{name} says something twice"


# What can be said otherwise, is.


def test_sizes_are_what_python_makes_of_them(data: dict[str, Any]) -> None:
    for case in data["sizes"]:
        if case["value"] is not None:
            assert eval(str(case["size"]), {}, dict(case["symbols"])) == case["value"]


def test_pieces_of_a_stream_make_up_the_text_before_the_stop(data: dict[str, Any]) -> None:
    for case in data["streams"]:
        tokenizer = conformance._tokenizer(case["tokenizer"])
        whole = tokenizer.decode([*case["prompt"], *case["tokens"]])[len(tokenizer.decode(case["prompt"])) :]
        ends = [at for stop in case["stops"] if (at := whole.find(stop)) >= 0]
        assert "".join(case["pieces"]) + case["rest"] == whole[: min(ends, default=len(whole))]
        assert case["stopped"] == bool(ends)


def test_windows_cover_the_recording(data: dict[str, Any]) -> None:
    """Each begins where the one before ends, less the context that both hear."""
    for case in data["windows"]:
        size = case["hop"] * case["frames"] + case["context"]
        for window in case["windows"]:
            if window["first"] is not None:
                held = min(case["samples"] - window["first"], size - window["before"])
                assert window["before"] + held + window["after"] == size
                assert window["before"] == (case["context"] // 2 if window["opening"] else 0)
        assert sum(window["opening"] for window in case["windows"]) >= 1
