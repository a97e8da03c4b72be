"""Golden files: the plan and the shaders of two tiny models, those of other variants aside.

A change of either is seen, and reviewed, as one.

`python tests/system/test_golden.py` writes them again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

import intaglio

HERE = Path(__file__).parents[1]
MODELS = "whisper-merged-18", "llama-optimum-18"


def compiled(name: str) -> dict[str, str]:
    """The texts by file name: the shaders, and a line for each dispatch of each program."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = intaglio.compile(HERE / "fixtures" / name, Path(folder) / "bundle")
        used = [bundle.folder / kernel.file for kernel in bundle.plan.used.values()]
        texts = {path.name: path.read_text() for path in used}
        steps = [
            f"{program} {i}: {step.kernel} {json.dumps(step.grid)} on {list(step.buffers)}"
            for program, described in bundle.plan.programs.items()
            for i, step in enumerate(described.steps)
        ]
        return texts | {"steps.txt": "\n".join(steps) + "\n"}


@pytest.mark.parametrize("name", MODELS)
def test_plan_and_shaders_are_as_they_were(name: str) -> None:
    made = compiled(name)
    folder = HERE / "golden" / name
    assert made.keys() == {path.name for path in folder.iterdir()}, "write them again, and look at what changed"
    assert [file for file, text in made.items() if (folder / file).read_text() != text] == []


if __name__ == "__main__":
    for model in sys.argv[1:] or MODELS:
        target = HERE / "golden" / model
        target.mkdir(parents=True, exist_ok=True)
        for old in target.iterdir():
            old.unlink()
        for file, content in compiled(model).items():
            (target / file).write_text(content)
