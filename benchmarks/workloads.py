"""What is measured. A workload loads a model, runs it once, which tells how long a start takes, and then a few times.

Runs of a workload differ in their inputs where an engine could remember, and are the same for every engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import kernels, recordings, speech
from benchmarks.engines.engine import Engine
from benchmarks.stopwatch import Seconds

PROMPT = 128  # tokens
PROBES, PROBE = 4, 32  # prompts whose logits are compared, and their tokens
TOKENS = PROBES * PROMPT  # that are enough for all prompts


@dataclass(frozen=True)
class Size:
    """How much of everything. tokens: that a language model adds to its prompt. most, seconds: after its first run, a
    workload is run until the one or the other is reached.
    """

    tokens: int
    most: int
    seconds: float


SIZES = {
    "full": Size(tokens=64, most=10, seconds=20),
    "slow": Size(tokens=16, most=1, seconds=0),
    "quick": Size(tokens=8, most=1, seconds=0),
    "start": Size(tokens=2, most=0, seconds=0),
}


@dataclass
class Inputs:
    """recording: the speech. tokens: of the language model, that prompts are cut from. square: see Models."""

    recording: Path
    tokens: list[int]
    square: int

    def prompt(self, run: int) -> list[int]:
        """Prompts begin with different tokens, so that none can be read from where it parts from the last one."""
        return self.tokens[run : run + PROMPT]

    def probes(self) -> list[list[int]]:
        return [self.tokens[i * PROMPT : i * PROMPT + PROBE] for i in range(PROBES)]


@dataclass
class Measured:
    """start: when the first result was there. runs: figure -> the time of each run. tokens: what was said in each.

    rows: the numbers that are compared. work: figure -> floating-point operations, and bytes that must be read.
    """

    start: Seconds | None = None
    runs: dict[str, list[Seconds]] = field(default_factory=dict)
    tokens: list[list[int]] = field(default_factory=list)
    rows: np.ndarray | None = None
    work: dict[str, tuple[int, int]] = field(default_factory=dict)


Figures = Mapping[str, Seconds]


def encode(engine: Engine, inputs: Inputs, size: Size) -> Measured:
    """tiny.en's encoder on a window of 30 s, features to hidden states."""
    features = speech.log_mel(inputs.recording)
    result = Measured()

    def once(run: int) -> Figures:
        begin = Seconds.now()
        result.rows = engine.encode(features)
        return {"encode": Seconds.now() - begin}

    return _repeat(result, size, once)


def transcribe(engine: Engine, inputs: Inputs, size: Size) -> Measured:
    """tiny.en from a file of 11 s to tokens; and the time of each token but the first."""
    result = Measured()

    def once(run: int) -> Figures:
        begin, first = Seconds.now(), []
        tokens = engine.transcribe(inputs.recording, lambda: first.append(Seconds.now()))
        end = Seconds.now()
        result.tokens.append(tokens)
        figures = {"transcribe": end - begin}
        if first:
            figures["token"] = (end - first[-1]) / len(tokens)  # the last step finds the end
        return figures

    return _repeat(result, size, once)


def dictate(engine: Engine, inputs: Inputs, size: Size) -> Measured:
    """tiny.en on ten minutes of speech with pauses, as each engine transcribes by itself; a sentence for the start."""
    result = Measured()
    ten_minutes, sentence = recordings.ten_minutes(), recordings.speech("0880").samples

    def once(run: int) -> Figures:
        begin = Seconds.now()
        engine.dictate(ten_minutes if run else sentence)
        return {"dictate": Seconds.now() - begin}

    return _repeat(result, size, once)


def language(engine: Engine, inputs: Inputs, size: Size) -> Measured:
    """SmolLM2-135M-Instruct: a prompt of 128 tokens, and what follows, a token at a time."""
    result = Measured()

    def once(run: int) -> Figures:
        count = size.tokens if run else 2
        begin, first = Seconds.now(), []
        tokens = engine.generate(inputs.prompt(run), count, lambda: first.append(Seconds.now()))
        end = Seconds.now()
        result.start = result.start or first[-1]
        result.tokens.append(tokens)
        return {"prefill": first[-1] - begin, "decode": (end - first[-1]) / (count - 1)}

    _repeat(result, size, once)
    if result.runs:
        result.rows = np.stack([engine.logits(prompt) for prompt in inputs.probes()])
    return result


def matmul(engine: Engine, inputs: Inputs, size: Size) -> Measured:
    """f32[n,n] @ f32[n,n] that lie on the adapter, until the product does."""
    n = inputs.square
    return _multiply("matmul", engine, inputs, size, (2 * n**3, 0))


def matvec(engine: Engine, inputs: Inputs, size: Size) -> Measured:
    """f16[1,16384] @ f16[16384,4096] that lie on the adapter, until the product does."""
    rows, columns = kernels.MATVEC
    return _multiply("matvec", engine, inputs, size, (2 * rows * columns, 2 * rows * columns))


def _multiply(name: str, engine: Engine, inputs: Inputs, size: Size, work: tuple[int, int]) -> Measured:
    result = Measured(work={name: work})
    multiply = engine.multiply(kernels.inputs(name, inputs.square))

    def once(run: int) -> Figures:
        begin = Seconds.now()
        multiply()
        return {name: Seconds.now() - begin}

    _repeat(result, size, once)
    result.rows = engine.product().astype(np.float32)
    return result


def _repeat(result: Measured, size: Size, once: Callable[[int], Figures]) -> Measured:
    """Run once for the start, then as often as the size says."""
    once(0)
    result.start = result.start or Seconds.now()
    begin, run = time.monotonic(), 0
    while run < size.most and (not run or time.monotonic() - begin < size.seconds):
        run += 1
        for figure, seconds in once(run).items():
            result.runs.setdefault(figure, []).append(seconds)
    return result


# Name on the command line -> the model and what is done with it.
WORKLOADS: dict[str, tuple[str, Callable[[Engine, Inputs, Size], Measured]]] = {
    "encode": ("whisper", encode),
    "transcribe": ("whisper", transcribe),
    "dictate": ("whisper", dictate),
    "smollm2-f32": ("smollm2-f32", language),
    "smollm2-q4": ("smollm2-q4", language),
    "matmul": ("matmul", matmul),
    "matvec": ("matvec", matvec),
}
