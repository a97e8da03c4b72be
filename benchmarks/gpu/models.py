"""The models of gpu.sh: `python -m benchmarks.gpu.models FOLDER [--smoke]` makes them, where no GPU is needed.

Their weights are a short row of numbers again and again, because speed does not depend on them: so they compress to
next to nothing, and can be brought to a machine that has no network.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import external_data_helper, numpy_helper

from benchmarks import kernels, random_llama
from benchmarks.models import MATVEC, ROOT, Models, export, prepare

ENGINES = "intaglio", "onnxruntime-webgpu"
SQUARE, SMALL = 4096, 512  # rows of square matrices; the small one is for a smoke test
LARGE = 1024  # elements of the weights that are replaced
CONTEXT = 8192  # tokens, up to which SmolLM2 works
_LLAMA = random_llama.NARROW | {"max_position_embeddings": 16384, "vocab_size": 32_000, "tie_word_embeddings": True}
_1B = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8}
_8B = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8}
# Model -> fields of its configuration, its layers, and the fewer and the more of them that are measured: the difference
# is the time of a layer. The fewer ones have more weights than caches hold.
LLAMAS = {"llama-1b": (_1B, 16, (4, 8)), "llama-8b": (_8B, 32, (2, 4)), "llama-smoke": ({}, 4, (1, 2))}


def llama_bundle(models: Models, name: str, layers: int) -> Path:
    return models.made / f"{name}-{layers}.bundle"


def weights(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Numbers from -0.1 to 0.1, which repeat."""
    return np.resize(np.linspace(-0.1, 0.1, 251, dtype=dtype), shape)


def replaced(source: Path, target: Path) -> None:
    """Copy an exported model, with such weights in the place of its own."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.suffix == ".onnx":
            model = onnx.load(path, load_external_data=False)
            for tensor in model.graph.initializer:
                if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) > LARGE:
                    tensor.CopyFrom(numpy_helper.from_array(weights(tuple(tensor.dims)), tensor.name))
                elif external_data_helper.uses_external_data(tensor):
                    external_data_helper.load_external_data_for_tensor(tensor, str(source))
            onnx.save(model, target / path.name, save_as_external_data=True, location=f"{path.name}_data")
        elif not path.name.endswith("_data"):
            shutil.copy(path, target / path.name)


def make(folder: Path, smoke: bool) -> None:
    """Everything that the measurements need, in `folder`."""
    exports, models = Models(ROOT / "build", 0), Models(folder, SMALL if smoke else SQUARE)
    export("whisper_onnx.py", exports.whisper, "encoder_model.onnx")
    export("smollm2_onnx.py", exports.language, "model.onnx")
    for source, target in ((exports.whisper, models.whisper), (exports.language, models.language)):
        if not target.exists():
            replaced(source, target)
    models.made.mkdir(parents=True, exist_ok=True)
    for name, shape, dtype in (("matmul", (models.square,) * 2, np.float32), ("matvec", MATVEC, np.float16)):
        if not models.kernel_onnx(name).exists():
            rows = 1 if name == "matvec" else models.square
            onnx.save(kernels.product(weights(shape, dtype), rows), models.kernel_onnx(name))
    prepare(models, ["whisper", "matmul", "matvec"], ENGINES)
    prepare(models, ["smollm2-q4"], ENGINES[1:])
    compiled(models.language, models.bundle("smollm2-q4"))
    for name in ["llama-smoke"] if smoke else ["llama-1b", "llama-8b"]:
        for layers in LLAMAS[name][2]:
            _make_llama(models, name, layers)


def compiled(source: Path, bundle: Path) -> None:
    """A language model in 4 bits, with room for the longest past."""
    if not bundle.exists():
        command = [sys.executable, "-m", "intaglio", "compile", source, "-o", bundle]
        subprocess.run([*command, "--quantize", "q4", "--max-length", str(CONTEXT)], check=True, cwd=ROOT)


def _make_llama(models: Models, name: str, layers: int) -> None:
    if llama_bundle(models, name, layers).exists():
        return
    source = models.made / f"partial-{name}"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    random_llama.write(_LLAMA | LLAMAS[name][0] | {"num_hidden_layers": layers}, source, weight=weights)
    compiled(source, llama_bundle(models, name, layers))
    shutil.rmtree(source)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.models", description=(__doc__ or "").split(":")[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--smoke", action="store_true", help="small models, to try the script")
    options = parser.parse_args()
    make(options.folder, options.smoke)


if __name__ == "__main__":
    main()
