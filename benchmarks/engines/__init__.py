"""The engines that are measured, all with the same interface, each imported only in the process that runs it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from benchmarks.engines.engine import Engine

MODELS = "whisper", "smollm2-f32", "smollm2-q4", "matmul", "matvec"


@dataclass(frozen=True)
class Listed:
    """Where an engine's class is, and how to treat it.

    models: those that it runs. needs: see adapter.environment. requirements: what pip installs for it beside the
    `benchmark` extra. slow: on a software adapter it takes part in one round alone, with few tokens.
    """

    module: str
    kind: str
    models: tuple[str, ...] = MODELS
    needs: str = ""
    requirements: tuple[str, ...] = ()
    slow: bool = False


_LLAMA_CPP, _WHISPER_CPP = ("smollm2-q4",), ("whisper",)
_CYLLAMA = ("cyllama-vulkan>=0.2.18,<0.3",)  # llama.cpp and whisper.cpp, for the CPU and for Vulkan
_TINYGRAD = ("tinygrad==0.13.0", "dawn-python>=0.3,<0.4")  # 0.14.0 lacks modules that its language models import
# Name on the command line -> engine. The first one is what the others are compared with.
ENGINES = {
    "intaglio": Listed("intaglio", "Intaglio"),
    "onnxruntime-cpu": Listed("onnxruntime", "OnnxRuntimeCpu"),
    "onnxruntime-webgpu": Listed("onnxruntime", "OnnxRuntimeWebGpu", needs="dawn"),
    "llama.cpp-cpu": Listed("llama_cpp", "LlamaCppCpu", _LLAMA_CPP, "ggml-cpu", _CYLLAMA),
    "llama.cpp-vulkan": Listed("llama_cpp", "LlamaCppVulkan", _LLAMA_CPP, "ggml-vulkan", _CYLLAMA, slow=True),
    "whisper.cpp-cpu": Listed("whisper_cpp", "WhisperCppCpu", _WHISPER_CPP, "ggml-cpu", _CYLLAMA),
    "whisper.cpp-vulkan": Listed("whisper_cpp", "WhisperCppVulkan", _WHISPER_CPP, "ggml-vulkan", _CYLLAMA, slow=True),
    "faster-whisper": Listed("faster_whisper_cpu", "FasterWhisper", ("whisper",), "", ("faster-whisper>=1.2,<1.3",)),
    "tinygrad-webgpu": Listed(
        "tinygrad_webgpu", "TinygradWebGpu", ("whisper", "smollm2-q4", "matmul", "matvec"), "dawn", _TINYGRAD, slow=True
    ),
}


def engine(name: str) -> type[Engine]:
    """Raises ImportError where its package is not installed."""
    listed = ENGINES[name]
    return getattr(importlib.import_module(f"benchmarks.engines.{listed.module}"), listed.kind)
