"""How much processor time and memory compiling takes: `python -m benchmarks.compile_time [--rounds N] [MODEL ...]`.

Each compilation is a process of its own. Others that run beside it can only add to its time, so the least of the
rounds counts. The first round leaves Python's bytecode behind, as an installation does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import random_llama
from benchmarks.models import ROOT, Models, export

NARROW = (30, 60)  # layers of the random models that are small but deep


@dataclass(frozen=True)
class Usage:
    """Seconds of processor time of all threads, in user and system mode, and the peak memory in bytes."""

    cpu: float
    peak: int


@dataclass(frozen=True)
class Subject:
    """What is compiled: a title, the model's folder and options."""

    title: str
    folder: Path
    options: tuple[str, ...] = ()


def subjects(models: Models) -> dict[str, Subject]:
    narrow = {
        f"narrow-{n}": Subject(f"random Llama of width 64, {n} layers", models.made / f"narrow-{n}") for n in NARROW
    }
    return {
        "whisper": Subject("Whisper tiny.en", models.whisper),
        "smollm2-f32": Subject("SmolLM2-135M-Instruct", models.language),
        "smollm2-q4": Subject("SmolLM2-135M-Instruct, 4 bits", models.language, ("--quantize", "q4")),
        **narrow,
    }


def prepare(models: Models, name: str, folder: Path) -> None:
    """Make a model if it is not there."""
    if name == "whisper":
        export("whisper_onnx.py", folder, "encoder_model.onnx")
    elif name.startswith("smollm2"):
        export("smollm2_onnx.py", folder, "model.onnx")
    elif not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        random_llama.write(random_llama.NARROW | {"num_hidden_layers": int(name.rpartition("-")[2])}, folder)


def compiled(subject: Subject) -> Usage:
    """What a process takes that compiles it. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "intaglio", "compile", str(subject.folder), "-o", f"{temporary}/bundle"]
        process = subprocess.Popen(
            [*command, *subject.options], stderr=subprocess.DEVNULL, cwd=ROOT, env=_environment()
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss
    return Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(ROOT / "build" / "benchmark" / "bytecode")}


def least(usages: list[Usage]) -> Usage:
    return Usage(min(u.cpu for u in usages), min(u.peak for u in usages))


def table(rows: dict[str, Usage]) -> str:
    """In Markdown, a row for each title."""
    lines = [f"| {title} | {usage.cpu:.1f} | {usage.peak >> 20} |" for title, usage in rows.items()]
    return "\n".join(["| model | CPU s | peak MiB |", "|---|---|---|", *lines])


def main() -> None:
    models = Models(ROOT / "build", square=0)
    choices = subjects(models)
    parser = argparse.ArgumentParser(description="CPU seconds and peak memory of compiling")
    parser.add_argument("models", metavar="MODEL", nargs="*", help=f"default: all of {', '.join(choices)}")
    parser.add_argument("--rounds", type=int, default=3, help="compilations of each model (default: 3)")
    options = parser.parse_args()
    if unknown := [name for name in options.models if name not in choices]:
        parser.error(f"{', '.join(unknown)}: expected {', '.join(choices)}")
    rows: dict[str, Usage] = {}
    for name in options.models or choices:
        subject = choices[name]
        prepare(models, name, subject.folder)
        rows[subject.title] = least([compiled(subject) for _ in range(options.rounds)])
    print(table(rows))


if __name__ == "__main__":
    main()
