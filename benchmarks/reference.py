"""What the language model says in f32, by onnxruntime: `python -m benchmarks.reference MODEL.onnx TEXT TOKENIZER OUT`.

OUT is f32[prompts, vocabulary], the scores after each of the prompts whose 4-bit scores are compared with these.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks import prompts
from benchmarks.engines.onnxruntime import Language
from benchmarks.workloads import Inputs


def main(model: Path, text: Path, tokenizer: Path, out: Path) -> None:
    language = Language(ort.InferenceSession(model, providers=["CPUExecutionProvider"]), "cpu")
    probes = Inputs(text, prompts.tokens(text, tokenizer), 0).probes()
    rows = np.stack([language.prefill(probe)[0] for probe in probes])
    with out.open("wb") as file:
        np.save(file, rows)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
