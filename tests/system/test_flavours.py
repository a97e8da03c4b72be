"""Every export flavour, against onnxruntime on the same files: spectrogram, encoder, logits, and greedy tokens.

Files of f16 are computed in f32 there too, for onnxruntime's own rounding to f16 is larger than any error of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from reference import Reference, samples

import intaglio
from intaglio import Bundle
from intaglio.runtime.contract import ON_DEMAND
from intaglio.runtime.instruments.provenance import Operation
from intaglio.runtime.tasks.whisper.rules import Rules
from intaglio.runtime.tasks.whisper.settings import Settings

FIXTURES = Path(__file__).parents[1] / "fixtures"
FLAVOURS = sorted(f.name for f in FIXTURES.glob("whisper-*"))
FUSED = {
    "whisper-genai",
    "whisper-genai-f16",
    "whisper-optimizer",
}  # operators of ONNX Runtime, inside of which a file has no values
RECORDINGS = [FIXTURES.parent.parent / "examples" / "jfk.wav", *sorted((FIXTURES / "audio").glob("*.wav"))]
OURS = {"detect": {"Gather", "Softmax"}, "prefill": {"WhisperToken"}, "step": {"WhisperToken"}}  # after the logits
MOST = 24  # tokens that are compared
STEP = 0.05  # the largest of the steps that the encoder's numbers are rounded to where they are rounded to 8 bits


@dataclass(frozen=True)
class Pair:
    reference: Reference
    bundle: Bundle

    @property
    def dynamic(self) -> bool:
        """Whether numbers are rounded in the range that they have in a run, which its other tokens are part of."""
        return "int8" in self.bundle.folder.name

    @property
    def rounded(self) -> bool:
        """Whether numbers are rounded to 256 steps: one on the border may go either way."""
        return self.dynamic or "qdq" in self.bundle.folder.name


@pytest.fixture(scope="module", params=FLAVOURS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = FIXTURES / request.param
    bundle = intaglio.compile(folder, tmp_path_factory.mktemp("bundles") / request.param)
    return Pair(Reference(folder, exact=True), bundle)


def listen(pair: Pair, recording: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first window of a recording: the reference's spectrogram and encoder rows, and our rows of the same."""
    features = pair.reference.features(samples(recording))
    ours = pair.bundle.run({"input_features": features}, "encode")["last_hidden_state"]
    return features, pair.reference.encode(features), ours


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: r.stem)
def test_the_encoder_agrees(pair: Pair, recording: Path) -> None:
    _, theirs, ours = listen(pair, recording)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=STEP if pair.dynamic else 1e-3)


def test_the_spectrogram_agrees(pair: Pair) -> None:
    window = pair.reference.window
    audio = samples(RECORDINGS[0])
    silence = np.zeros(window, np.float32)
    padded = np.pad(np.concatenate([audio[: window - 400], silence])[:window], 200, mode="reflect")[None, None]
    ours = pair.bundle.run({"audio": padded, "loudest": np.full((1, 1, 1), -10.0)}, "mel")["input_features"]
    np.testing.assert_allclose(ours, pair.reference.features(audio[: window - 400]), rtol=0, atol=1e-4)


def test_every_step_agrees_with_the_file(pair: Pair) -> None:
    """onnxruntime's values between the nodes of what the exporter wrote, at every step of every program."""
    steps = list(pair.bundle.verify_steps(reference=pair.reference.folder))
    assert not [(s.worst.program, s.step) for s in steps if s.verdict == "wrong"]
    compared = {(s.worst.program, s.step) for s in steps}
    inside = {"Elementwise", "Linear"} if pair.bundle.folder.name in FUSED else set()
    inside |= {"FakeQuantize", "Transpose"} if pair.dynamic else set()  # files have it in integers
    for program in pair.bundle.plan.programs:
        if program == "step" and pair.dynamic:  # the file would round what it reads together with all before
            continue
        if program in ON_DEMAND:  # no golden run needs it
            continue
        left = {o.op for i, o in operations(pair, program) if (program, i) not in compared}
        assert left - inside == OURS.get(program, set())


def operations(pair: Pair, program: str) -> list[tuple[int, Operation]]:
    """What a program computes, and the last step of each."""
    graph = pair.bundle.graph
    last = {work.operation: i for i, work in enumerate(graph.work[program])}
    return [(i, graph.operation(program, i)) for i in last.values()]


@pytest.mark.parametrize("timed", [False, True], ids=["text", "times"])
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: r.stem)
def test_logits_and_greedy_tokens_agree(pair: Pair, recording: Path, timed: bool) -> None:
    _, theirs, ours = listen(pair, recording)
    hidden = ours if pair.dynamic else theirs
    prompt = pair.reference.prompt(timed=timed)
    expected = pair.reference.greedy(hidden, prompt, timed, MOST)
    end = pair.reference.generation["eos_token_id"]
    run, begin = pair.bundle.replays, len(prompt)
    settings = Settings.parse(pair.bundle.contents.generation)
    rules = Rules(timed, settings.suppress, settings.suppress_first, 50, settings.vocabulary)
    run.write("suppress", rules.bits)
    run.write("sampling", rules.sampling(0))
    run.write("tokens", np.array(prompt))
    symbols = {"past": 0, "new_tokens": begin, "begin": begin, "timed": int(timed)}
    sampled = [int(run.submit("prefill", symbols, ("tokens", begin, 1))[0])]
    theirs = pair.reference.logits(hidden, prompt, expected)
    for position in range(begin, begin + len(expected)):
        difference = np.abs(run.read("logits", symbols)[0, 0] - theirs[position - begin])
        # One number that is rounded to the other side changes all logits after it, each by less than such a step.
        assert difference.mean() <= STEP if pair.rounded else difference.max() <= 2e-3
        symbols["past"] = position
        sampled.append(int(run.submit("step", symbols, ("tokens", position + 1, 1))[0]))
    assert sampled[: len(expected)] == expected
    assert len(expected) == MOST or sampled[-1] == end
