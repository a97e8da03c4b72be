"""The engines that are measured, all with the same interface, each imported only in the process that runs it."""

from __future__ import annotations

import importlib

from benchmarks.engines.engine import Engine

# Name on the command line -> module and class. The first one is what the others are compared with.
ENGINES = {
    "intaglio": ("intaglio", "Intaglio"),
    "onnxruntime-cpu": ("onnxruntime", "OnnxRuntimeCpu"),
    "onnxruntime-webgpu": ("onnxruntime", "OnnxRuntimeWebGpu"),
}
DAWN = {"onnxruntime-webgpu"}  # built on Dawn, which is choosy about adapters


def engine(name: str) -> type[Engine]:
    """Raises ImportError where its package is not installed."""
    module, kind = ENGINES[name]
    return getattr(importlib.import_module(f"benchmarks.engines.{module}"), kind)
