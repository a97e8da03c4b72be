"""The benchmark: its arithmetic on results that are made up, and a workload of it with our own engine."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import decoders, pre_tokenizers

import intaglio
from benchmarks import adapter, agreement, ceilings, compile_time, ggml, report, turns
from benchmarks.engines import ENGINES, Listed, engine
from benchmarks.kernels import inputs, matrix, product
from benchmarks.measure import measured
from benchmarks.models import COMPILER, ROOT, TEXT, Models
from benchmarks.workloads import SIZES, TOKENS, Inputs, language, matmul, transcribe

LAVAPIPE = adapter.Adapter("llvmpipe", "CPU", "Vulkan", "Mesa")
GPU = adapter.Adapter("a card", "DiscreteGPU", "Vulkan", "a driver")


def result(*seconds: float, start: float = 1.0, peak: int = 1 << 20, tokens: tuple[int, ...] = (1, 2)) -> dict:
    runs = {"encode": [{"wall": s, "cpu": 2 * s} for s in seconds]}
    told = {"runs": runs, "start": {"wall": start, "cpu": start}, "peak": peak, "tokens": [list(tokens)]}
    return told | {"work": {}, "adapter": "a card", "version": "1.0"}


def test_what_is_read_of_the_repository_is_there() -> None:
    assert TEXT.is_file() and all((ROOT / part).exists() for part in COMPILER)


def test_medians_over_all_rounds_and_ratios() -> None:
    ours, other = [result(1.0, 3.0), result(2.0)], [result(8.0, 20.0), result(4.0, 40.0)]
    first, second = report.rows({"encode": {"intaglio": ours, "other": other, "left out": []}}, {})
    assert (first.engine, first.wall, first.cpu, first.wall_ratio) == ("intaglio", 2.0, 4.0, 1.0)
    assert (second.engine, second.wall, second.cpu, second.wall_ratio, second.cpu_ratio) == ("other", 14, 28, 7, 7)
    lines = report.table([first, second]).splitlines()
    assert lines[2] == "| tiny.en encoder, a window of 30 s | intaglio | 2.00 s | 4.00 s | | |"
    assert lines[3] == "|  | other | 14.00 s | 28.00 s | 7 | 7 |"


def test_starts_and_memory() -> None:
    results = {"transcribe": {"intaglio": [result(start=s, peak=m << 20) for s, m in ((1, 3), (9, 5), (2, 4))]}}
    warm, cold = report.rows(results, {"transcribe": {"intaglio": result(start=30)}})
    assert (warm.what, warm.wall) == ("tiny.en, start to first text", 2)
    assert (cold.what, cold.wall) == ("tiny.en, start to first text, cold", 30)
    user = {"transcribe": {"peak": 5 << 20}}
    assert report.memory(report.peaks(results), user).splitlines()[-1] == "| transcribe | 4 | 5 |"


def test_products_are_held_to_arithmetic_or_to_bandwidth() -> None:
    def product_of(name: str, seconds: float, work: tuple[float, float], where: str = "a card") -> dict:
        return {**result(), "runs": {name: [{"wall": seconds, "cpu": 0}]}, "work": {name: work}, "adapter": where}

    matmul = {"intaglio": [product_of("matmul", 2, (10e9, 0))], "cpu": [product_of("matmul", 1, (10e9, 0), "CPU")]}
    matvec = {"intaglio": [product_of("matvec", 0.5, (1e9, 3e9))]}
    first, second = report.shares({"matmul": matmul, "matvec": matvec}, flops=20e9, bandwidth=8e9)
    assert (first.engine, first.reached, first.unit, first.share) == ("intaglio", 5, "GFLOP/s", 0.25)
    assert (second.reached, second.unit, second.share) == (6, "GB/s", 0.75)
    assert "| 6 GB/s | 75 % |" in report.share_table([first, second])


@pytest.mark.parametrize(
    "tokens, rows, found",
    [
        ((1, 2), [1.0, 2.0005], []),
        ((1, 3), [1.0, 2.0], ["encode: other gives other tokens than intaglio"]),
        ((1, 2), [1.0, 2.1], ["encode: other differs from intaglio by 0.1, more than 0.001"]),
        ((1, 2), [1.0, np.nan], ["encode: other differs from intaglio by nan, more than 0.001"]),
    ],
)
def test_disagreements_are_reported(tokens: tuple[int, ...], rows: list[float], found: list[str]) -> None:
    results = {"encode": {"intaglio": [result(1.0)], "other": [result(1.0, tokens=tokens)]}}
    numbers = {("encode", "intaglio"): np.array([1.0, 2.0]), ("encode", "other"): np.array(rows)}
    assert agreement.disagreements(results, numbers, {"encode": 1e-3, "transcribe": 0.0}) == found


def test_a_run_without_ours_agrees_with_nothing() -> None:
    results = {"encode": {"intaglio": [], "other": [result(1.0)]}}
    assert agreement.disagreements(results, {}, {"encode": 1e-3}) == ["encode: intaglio has no result"]


def test_what_follows_a_prompt_is_compared_too() -> None:
    ours, other = result(1.0), result(1.0)
    ours["tokens"], other["tokens"] = [[1], [2, 3]], [[1], [2, 4]]
    found = agreement.disagreements({"encode": {"intaglio": [ours], "other": [other]}}, {}, {"encode": 1e-3})
    assert found == ["encode: other gives other tokens than intaglio"]


def test_four_bits_are_held_to_what_f32_says() -> None:
    even, sure = np.zeros((2, 2)), np.log([[0.75, 0.25], [0.75, 0.25]])
    away = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert agreement.divergence(sure, even) == pytest.approx(away)
    assert agreement.divergence(sure, sure + 3) == pytest.approx(0)
    scores = np.random.default_rng(0).standard_normal((3, 1000)) * 4
    near = scores + np.random.default_rng(1).standard_normal(scores.shape) * 0.1
    numbers = {
        ("smollm2-q4", "near"): near,
        ("smollm2-q4", "blind"): np.zeros_like(scores),
        ("smollm2-q4", "broken"): np.full_like(scores, np.nan),
        ("smollm2-f32", "near"): near,
    }
    found = agreement.divergences(numbers, scores)
    assert list(found) == ["near", "blind", "broken"] and found["near"] < 0.02
    assert [line.split()[1] for line in agreement.absurd(found, scores)] == ["blind", "broken"]


def test_a_report_out_of_its_file(tmp_path: Path) -> None:
    told = {
        "adapter": "a card, 2 cores",
        "ceilings": {"flops": 1e9, "bandwidth": 1e9},
        "disagreements": [],
        "divergences": {"intaglio": 0.0251},
        "user": {},
        "skipped": {"encode": {"other": "it is not installed"}, "transcribe": {"other": "it is not installed"}},
        "cold": {},
        "results": {"encode": {"intaglio": [result(1.0)]}},
    }
    (tmp_path / "results.json").write_text(json.dumps(told))
    command = [sys.executable, "-m", "benchmarks.report", tmp_path / "results.json"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "a card, 2 cores. Ran: intaglio 1.0 (a card)." in text
    assert "| intaglio | 0.025 |" in text and "All engines agree." in text
    assert "- left out: other: encode, transcribe: it is not installed" in text


def test_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cold round, rounds that count, one alone for who is slow on software, and none for who failed."""
    engines = {
        "intaglio": Listed("intaglio", "Intaglio"),
        "slow": Listed("", "", slow=True),
        "broken": Listed("", ""),
        "unable": Listed("", "", models=("whisper",)),
    }
    monkeypatch.setattr(turns, "ENGINES", engines)
    asked = []

    def measure(_: turns.Turns, workload: str, name: str, size: str) -> dict:
        asked.append((name, size))
        return {"skipped": "it broke"} if name == "broken" else result(start=len(asked))

    monkeypatch.setattr(turns.Turns, "_measure", measure)
    made = turns.Turns(Models(tmp_path, 64), LAVAPIPE)
    made.run(["matmul"], list(engines), rounds=2, quick=False)
    first = [("intaglio", "start"), ("slow", "start"), ("broken", "start")]
    assert asked == [*first, ("intaglio", "full"), ("slow", "slow"), ("intaglio", "full")]
    assert made.cold["matmul"]["intaglio"]["start"]["wall"] == 1
    assert {name: len(of) for name, of in made.results["matmul"].items()} == {"intaglio": 2, "slow": 1, "broken": 0}
    assert made.skipped["matmul"] == {"broken": "it broke"}


def test_an_engine_that_is_not_installed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "missing", Listed("no_such_engine", "Engine"))
    job = {"engine": "missing", "workload": "matmul", "size": "quick", "build": str(tmp_path), "square": 64}
    told, rows = measured(job | {"recording": "", "tokens": []})
    assert told == {"skipped": "benchmarks.engines.no_such_engine is not installed"} and rows is None


def test_what_engines_need_of_their_adapter(tmp_path: Path) -> None:
    assert adapter.environment("ggml-cpu", GPU, tmp_path) == {"GGML_VK_VISIBLE_DEVICES": ""}
    assert adapter.environment("ggml-vulkan", LAVAPIPE, tmp_path) == {"GGML_VK_VISIBLE_DEVICES": "0"}
    assert adapter.environment("ggml-vulkan", GPU, tmp_path) == adapter.environment("dawn", GPU, tmp_path) == {}


def test_ceilings_of_this_adapter() -> None:
    most = ceilings.measured()
    assert 1e9 < most.flops < 1e15 and 1e8 < most.bandwidth < 1e14


def test_a_users_process_is_seen_from_outside() -> None:
    command = [sys.executable, "-m", "benchmarks.user", sys.executable, "-c", "b'1' * (96 << 20)"]
    told = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    assert 96 < told["peak"] / 2**20 < 160 and told["cpu"] > 0 and told["wall"] > 0


def test_letters_for_bytes_are_those_of_byte_level_bpe() -> None:
    letters = ggml.byte_letters()
    assert sorted(letters.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    text = "ein Fluß, 河 \n\t~"
    assert decoders.ByteLevel().decode(["".join(letters[byte] for byte in text.encode())]) == text


def test_weights_of_whisper_cpp() -> None:
    """Read back as models/convert-h5-to-ggml.py and whisper.cpp's loader describe the format."""
    config = dict.fromkeys(ggml.SIZES, 2) | {"vocab_size": 5, "num_mel_bins": 80}
    weights = {
        "model.encoder.conv1.weight": np.arange(12, dtype=np.float32).reshape(2, 2, 3),
        "model.encoder.conv1.bias": np.array([0.1, 0.2], np.float32),
        "model.decoder.layers.1.encoder_attn.k_proj.weight": np.eye(2, 4, dtype=np.float32),
        "model.decoder.embed_positions.weight": np.full((3, 2), 0.1, np.float32),
        "model.decoder.layers.0.self_attn_layer_norm.weight": np.ones(2, np.float32),
    }
    tokenizer = {"model": {"vocab": {"Ġa": 1, "é": 0, "<|end|>": 2}}, "added_tokens": [{"content": "<|end|>"}]}
    file = io.BytesIO()
    ggml.write_whisper(file, config, weights, tokenizer)
    file.seek(0)

    def integers(count: int) -> list[int]:
        return np.frombuffer(file.read(4 * count), "<i4").tolist()

    assert integers(12) == [0x67676D6C, 5, 2, 2, 2, 2, 2, 2, 2, 2, 80, 1]
    bands, frequencies = integers(2)
    assert (bands, frequencies) == (80, 201)
    mel = np.frombuffer(file.read(4 * bands * frequencies), np.float32).reshape(bands, frequencies)
    assert np.all(np.diff(mel.argmax(axis=1)) >= 0) and mel[79].argmax() > 180  # from low bands to high ones
    assert integers(1) == [2]
    assert [file.read(*integers(1)) for _ in range(2)] == [b"\xe9", b" a"]
    arrays = {}
    while file.tell() < len(file.getvalue()):
        rank, length, kind = integers(3)
        shape = tuple(integers(rank)[::-1])
        name, dtype = file.read(length).decode(), (np.float32, np.float16)[kind]
        data = file.read(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        arrays[name] = np.frombuffer(data, dtype).reshape(shape)
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == {
        "encoder.conv1.weight": ((2, 2, 3), "float16"),
        "encoder.conv1.bias": ((2, 1), "float32"),
        "decoder.blocks.1.cross_attn.key.weight": ((2, 4), "float16"),
        "decoder.positional_embedding": ((3, 2), "float32"),
        "decoder.blocks.0.attn_ln.weight": ((2,), "float32"),
    }
    for array, weight in zip(arrays.values(), weights.values(), strict=True):
        np.testing.assert_array_equal(array, weight.reshape(array.shape).astype(array.dtype))


class Talker:
    """An engine that says what it is asked for; `tells` whether it says when it has the first token."""

    def __init__(self, tells: bool) -> None:
        self.tells = tells

    def transcribe(self, recording: Path, first) -> list[int]:
        if self.tells:
            first()
        return [1, 2]

    def generate(self, prompt: list[int], count: int, first) -> list[int]:
        first()
        return list(range(count))

    def logits(self, prompt: list[int]) -> np.ndarray:
        return np.array(prompt[:2])


def test_only_a_token_that_is_seen_is_timed() -> None:
    given = Inputs(TEXT, [], 0)
    seen, unseen = (transcribe(Talker(tells), given, SIZES["quick"]).runs for tells in (True, False))
    assert (set(seen), set(unseen)) == ({"transcribe", "token"}, {"transcribe"})


def test_a_start_alone_counts_no_runs() -> None:
    given = Inputs(TEXT, list(range(TOKENS)), 0)
    alone, slow = (language(Talker(True), given, SIZES[size]) for size in ("start", "slow"))
    assert alone.start and not alone.runs and alone.rows is None and [len(t) for t in alone.tokens] == [2]
    assert [len(t) for t in slow.tokens] == [2, 16] and slow.rows.shape == (4, 2)


def test_a_workload_with_our_engine(tmp_path: Path) -> None:
    import onnx

    models = Models(tmp_path, 64)
    models.made.mkdir()
    onnx.save(product(matrix(64, 64, np.float32), 64), models.kernel_onnx("matmul"))
    intaglio.compile(models.kernel_onnx("matmul"), models.bundle("matmul"))
    ours = engine("intaglio")(models)
    ours.load("matmul")
    made = matmul(ours, Inputs(tmp_path, [], 64), SIZES["quick"])
    (seconds,) = made.runs["matmul"]
    assert seconds.wall > 0 and made.start and made.work == {"matmul": (2 * 64**3, 0)}
    x = inputs("matmul", 64).astype(np.float64)
    np.testing.assert_allclose(made.rows, x @ matrix(64, 64, np.float32).astype(np.float64), atol=1e-5)


def test_the_time_of_compiling(tmp_path: Path) -> None:
    """The least of all rounds, of the process that compiles: it imports numpy, so it takes tens of MiB."""
    folder = ROOT / "tests" / "fixtures" / "llama-optimum-18"
    made = f"compiled(Subject('a small Llama', Path({str(folder)!r})))"
    code = f"from benchmarks.compile_time import *; usage = {made}; print(usage.cpu, usage.peak)"
    # In a process of its own: the peak of a process begins with that of its parent, and this one's is high.
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    cpu, peak = output.split()
    usage = compile_time.Usage(float(cpu), int(peak))
    assert 0.1 < usage.cpu < 60 and 32 << 20 < usage.peak < 4 << 30
    least = compile_time.least([usage, compile_time.Usage(0.05, 5 << 30)])
    assert (least.cpu, least.peak) == (0.05, usage.peak)
    lines = compile_time.table({"a small Llama": compile_time.Usage(1.26, 100 << 20)}).splitlines()
    assert lines[-1] == "| a small Llama | 1.3 | 100 |"
    with pytest.raises(subprocess.CalledProcessError):
        compile_time.compiled(compile_time.Subject("nothing", tmp_path))
