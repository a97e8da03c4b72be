"""The models that are measured, made of the same weights: where they lie, and how they are made if they are not there.

Each file or folder is written beside its place and renamed, and redone when what it is made of is newer, as make would.
Quantizing and compiling happen in processes of their own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = ROOT / "compiler" / "models" / "calibration.txt"  # that prompts are cut from
COMPILER = "compiler", "codegen", "templates", "runtime/plan.py", "runtime/plan_file.py", "runtime/designs_file.py"
MATVEC = 16384, 4096  # inputs, outputs
# Model -> options of `intaglio compile`.
OPTIONS = {
    "whisper": [],
    "smollm2-f32": [],
    "smollm2-q4": ["--quantize", "q4"],
    "matmul": [],
    "matvec": ["--precision", "f16"],
}


@dataclass(frozen=True)
class Models:
    """build: the folder of everything. square: the rows and columns of the matrices in "matmul"."""

    build: Path
    square: int

    @property
    def made(self) -> Path:
        """What is made for the benchmark alone."""
        return self.build / "benchmark"

    @property
    def downloads(self) -> Path:
        """Where the examples keep the packages that carry weights."""
        return self.build / "downloads"

    @property
    def whisper(self) -> Path:
        """tiny.en as Optimum exports it."""
        return self.build / "whisper-tiny.en"

    @property
    def language(self) -> Path:
        """SmolLM2-135M-Instruct as Optimum exports it."""
        return self.build / "smollm2-135m-instruct"

    def language_onnx(self, model: str) -> Path:
        if model == "smollm2-f32":
            return self.language / "model.onnx"
        return self.made / "smollm2-q4" / "model.onnx"

    @property
    def tokenizer(self) -> Path:
        return self.language / "tokenizer.json"

    @property
    def reference(self) -> Path:
        """Its scores in f32, for what is said in 4 bits."""
        return self.made / "smollm2-f32.npy"

    @property
    def gguf(self) -> Path:
        """SmolLM2 for llama.cpp, in 4 bits."""
        return self.made / "smollm2.gguf"

    @property
    def ggml(self) -> Path:
        """tiny.en for whisper.cpp, in f16."""
        return self.made / "whisper-tiny.en.bin"

    @property
    def ctranslate2(self) -> Path:
        """tiny.en for faster-whisper."""
        return self.made / "whisper-tiny.en-ctranslate2"

    def kernel_onnx(self, model: str) -> Path:
        """y = x @ a constant matrix."""
        return self.made / (f"matmul-{self.square}.onnx" if model == "matmul" else "matvec.onnx")

    def source(self, model: str) -> Path:
        """What is compiled."""
        return {"whisper": self.whisper, "smollm2-f32": self.language, "smollm2-q4": self.language}.get(
            model
        ) or self.kernel_onnx(model)

    def bundle(self, model: str) -> Path:
        """The same, compiled."""
        name = self.kernel_onnx(model).stem if model in ("matmul", "matvec") else model
        return self.made / f"{name}.bundle"


def prepare(models: Models, names: Iterable[str], engines: Iterable[str]) -> None:
    """Make the models of these names that these engines need, where they are not up to date."""
    models.made.mkdir(parents=True, exist_ok=True)
    names, engines = set(names), set(engines)
    onnxruntime = any(name.startswith("onnxruntime") for name in engines)
    whisper_cpp = any(name.startswith("whisper.cpp") for name in engines)
    gguf = any(name.startswith(("llama.cpp", "tinygrad")) for name in engines)
    for model in sorted(names):
        if model in ("matmul", "matvec"):
            _make(models.kernel_onnx(model), [], _python("kernels", model, models.square))
        elif model == "whisper":
            export("whisper_onnx.py", models.whisper, "encoder_model.onnx")
        else:
            export("smollm2_onnx.py", models.language, "model.onnx")
        source = models.language_onnx("smollm2-f32")
        if model == "smollm2-q4":
            inputs = [source, TEXT, models.tokenizer]
            _make(models.reference, inputs, _python("reference", *inputs))
        if model == "smollm2-q4" and onnxruntime:
            _make(models.language_onnx(model).parent, [source], _python("quantize", source), "model.onnx")
        if model == "whisper" and whisper_cpp:
            _make(models.ggml, [], _python("ggml", "whisper", models.downloads))
        if model == "whisper" and "faster-whisper" in engines:
            write = _python("ctranslate2_folder", "tiny.en", models.downloads)
            _make(models.ctranslate2, [], write, "model.bin")
        if model == "smollm2-q4" and gguf:
            _make(models.gguf, [], _python("ggml", "llama", models.downloads))
        if "intaglio" in engines:
            _compile(models, model)


def export(example: str, folder: Path, file: str) -> None:
    """Let an example write a model into its folder, if `file` is not there."""
    if not (folder / file).exists():
        _run([sys.executable, ROOT / "examples" / example, folder])


def _compile(models: Models, model: str) -> None:
    """As the README says; the kernels' models are files, the others folders."""
    source, bundle = models.source(model), models.bundle(model)
    files = [path for path in [source, *source.rglob("*.onnx")] if path.is_file()]
    if _out_of_date(bundle / "plan.json", [*files, *_compiler()]):
        _run([sys.executable, "-m", "intaglio", "compile", source, "-o", bundle, *OPTIONS[model]])


def _compiler() -> list[Path]:
    paths = [path for place in COMPILER for path in (ROOT / place, *(ROOT / place).rglob("*"))]
    return [path for path in paths if path.suffix in (".py", ".jinja")]


def _python(module: str, *arguments: object) -> Callable[[Path], None]:
    """What a program of this folder writes to the path that is its last argument."""
    return partial(_program, [sys.executable, "-m", f"benchmarks.{module}", *arguments])


def _program(command: list[object], out: Path) -> None:
    _run([*command, out])


def _make(target: Path, inputs: list[Path], write: Callable[[Path], None], file: str = "") -> None:
    """`target` is a file, or a folder with `file` in it."""
    if not _out_of_date(target / file if file else target, inputs):
        return
    beside = target.with_name(f"partial-{target.name}")
    for old in beside, target:
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    write(beside)
    beside.rename(target)


def _out_of_date(target: Path, inputs: list[Path]) -> bool:
    return not target.exists() or target.stat().st_mtime < max((path.stat().st_mtime for path in inputs), default=0)


def _run(command: list[object]) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT)
