"""The conformance file: what a runtime in another language computes on the host, as inputs and expected outputs.

    python tests/support/conformance.py    writes tests/conformance.json again

docs/bundle-format.md says what each section means. The expected outputs are those of our runtime, which the other tests
hold to independent references.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chats
import numpy as np
import small_tokenizers

from intaglio.runtime import files, inputs
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.limits import PIECE
from intaglio.runtime.plan import Plan
from intaglio.runtime.sizes import Rule, evaluate_size, workgroups
from intaglio.runtime.tasks.chat_template import ChatTemplate
from intaglio.runtime.tasks.decode import Decoder, Request
from intaglio.runtime.tasks.options import Options as Sampling
from intaglio.runtime.tasks.streaming import Text
from intaglio.runtime.tasks.tokenizer import Tokenizer
from intaglio.runtime.tasks.whisper.cut import cut
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.transcriber import Transcriber

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests" / "conformance.json"
FORMAT = "intaglio-conformance-1"
FIXTURES = "tests/fixtures"
FIRST = 313  # the token of the time 0.00
Case = dict[str, Any]


def content() -> dict[str, Any]:
    """The content of the file."""
    sections = (
        sizes,
        grids,
        blocks,
        elements,
        pieces,
        sampling,
        prefixes,
        windows,
        prompts,
        cuts,
        tokenizers,
        decodings,
        streams,
        chat_templates,
    )
    return {
        "format": FORMAT,
        "files": {"pieces.json": json.loads(small_tokenizers.by_pieces().to_str())},
        **{section.__name__: list(section()) for section in sections},
    }


def text() -> str:
    """The text of the file, with a line for each case."""
    parts = []
    for name, value in content().items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(case, ensure_ascii=False)}" for case in value)
            parts.append(f"{json.dumps(name)}: [\n{lines}\n ]")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


# plans


def sizes() -> Iterator[Case]:
    symbols = {"past": 3, "new_tokens": 5, "n_N": 7}
    good = [7, 0, "7", "past", "past+new_tokens", "2*new_tokens-past", "-past+new_tokens", "past+2*n_N+10", "2*3*n_N"]
    bad = [
        "",
        "+",
        "past+",
        "past new_tokens",
        "past*2",
        "2**past",
        "(past)",
        "past/2",
        " past",
        "past\n",
        "2*",
        "other",
    ]
    for size in (*good, *bad):
        try:
            value = evaluate_size(size, symbols)
        except BadBundle:
            value = None
        yield {"size": size, "symbols": symbols, "value": value}


def grids() -> Iterator[Case]:
    symbols = {"past": 3, "new_tokens": 5}
    for x in (
        12,
        {"of": ["new_tokens"], "per": 1},
        {"of": ["new_tokens"], "per": 4},
        {"of": ["new_tokens", 384], "per": 64},
        {"of": ["past+new_tokens", "2*new_tokens-1"], "per": 7},
        {"of": [0], "per": 4},
    ):
        yield {"grid": [x, 6, 1], "symbols": symbols, "workgroups": list(workgroups((x, 6, 1), symbols))}


def blocks() -> Iterator[Case]:
    language = {"new_tokens": (1, 256), "past": (0, 511), "seed": (0, (1 << 31) - 1), "drawn": (0, 1)}
    many = {f"n_{i:03}": (i, i + 9) for i in range(70)}
    windows = {"n_n": (9, 1024), "floor_n_plus_3_by_4": (3, 256)}
    by_four = {"floor_n_plus_3_by_4": Rule(("n_n+3",), 4)}
    merged = {"n_b": (1, 46340), "n_n": (1, 46340), "product_b_n": (1, 2147395600), "floor": (0, 1 << 30)}
    rest = {"n_n": (1, 1024), "floor_n_plus_3_by_4": (1, 256), "size": (0, 3)}
    to_four = by_four | {"size": Rule(("4*floor_n_plus_3_by_4-n_n",))}
    chain = {"product_b_n": Rule(("n_b", "n_n")), "floor": Rule(("3*product_b_n-2*n_b", 1), 7)}
    for symbols, rules, values in (
        (language, {}, {"new_tokens": 7, "past": 40, "seed": 2147483647, "drawn": 1}),
        (language, {}, {"past": 40}),
        (language, {}, {"past": 512}),
        (many, {}, {"n_001": 4}),
        *((windows, by_four, {"n_n": n}) for n in (9, 12, 13, 1024, 8)),
        (windows, by_four, {}),
        *((rest, to_four, {"n_n": n}) for n in (1, 4, 1023)),
        (merged, chain, {"n_b": 3, "n_n": 5}),
        (merged, chain, {"n_b": 46340, "n_n": 46340}),
        (windows | {"floor_n_plus_3_by_4": (3, 200)}, by_four, {"n_n": 1000}),
        ({}, {}, {}),
    ):
        plan = Plan("model", symbols, {}, (), {}, {}, rules)
        try:
            words = [*inputs.complete(plan, values).values()]
        except ValueError:
            words = None
        listed = {name: [*ends, *([asdict(rules[name])] if name in rules else [])] for name, ends in symbols.items()}
        yield {"symbols": listed, "values": values, "words": words, "bytes": plan.block}


def elements() -> Iterator[Case]:
    for width, index in (2048, 0), (2048, 5), (2048, 8191), (2048, 8192), (16, 63), (16, 64), (512, 100_003):
        texel = index // 4
        place = {"x": texel % width, "y": texel // width, "component": index % 4}
        yield {"texture": [width, 1 + texel // width], "index": index, **place}


def pieces() -> Iterator[Case]:
    for size in 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, (16 << 20) - 5:
        described = files.describe(bytes(size), pieces=True)
        parts = [min(PIECE, size - i * PIECE) for i in range(len(described.pieces))]
        yield {"bytes": size, "sizes": parts}


# tokens


def sampling() -> Iterator[Case]:
    cases: list[dict[str, Any]] = [
        {},
        {"temperature": 0.75, "top_k": 40, "top_p": 0.875, "min_p": 0.0625, "repetition_penalty": 1.25},
        {"temperature": 0.00005},
        {"repetition_penalty": 1.5},
    ]
    for options in cases:
        yield {"options": options, "numbers": Sampling(**options).sampling.tolist()}


class _Decoded:
    """A session that says 9 after any tokens, and remembers what was run."""

    plan = SimpleNamespace(programs={}, symbols={})

    def __init__(self, says: int = 9) -> None:
        self.writes, self.runs, self._says = 0, [], says
        self.written: dict[str, np.ndarray] = {}

    def write(self, name: str, array: np.ndarray, offset: int = 0) -> None:
        self.writes += 1
        self.written[name] = np.array(array)

    def submit(self, program: str, symbols: Mapping[str, int], read: Any = None) -> np.ndarray:
        return self.replay(program, [symbols], read)

    def replay(self, program: str, runs: Sequence[Mapping[str, int]], read: Any = None) -> np.ndarray:
        self.writes += 1
        self.runs += [(program, dict(run), dict(self.written)) for run in runs]
        return np.full(1 if read is None else read[2], self._says)

    def launch(self, program: str, runs: Sequence[Mapping[str, int]], read: Any) -> SimpleNamespace:
        words = self.replay(program, runs, read)
        return SimpleNamespace(words=lambda: words)


def prefixes() -> Iterator[Case]:
    """Each prompt after a text of which `held` is in the caches."""
    long = list(range(20, 50))
    for held, prompt, chunk in (
        ([], [1, 2, 3], 256),
        ([], long, 8),
        ([1, 2, 3], [1, 2, 3], 256),
        ([1, 2, 3], [1, 2, 3, 4, 5], 256),
        ([1, 2, 3, 4], [1, 2, 7, 4], 256),
        ([1, 2, 3, 4], [1, 2], 256),
        ([5], [1, 2], 256),
        (long, [*long, *range(60, 80)], 8),
    ):
        session = _Decoded()
        fake: Any = session
        decoder = Decoder(fake, context=512, chunk=chunk, budget=1.0)
        if held:
            next(decoder.tokens(held, Request({}, limit=1)))
        session.runs.clear()
        next(decoder.tokens(prompt, Request({}, limit=1)))
        runs = [{name: run[name] for name in ("past", "new_tokens")} for _, run, _ in session.runs]
        yield {"held": held, "prompt": prompt, "chunk": chunk, "runs": runs}


# Whisper


def _settings(**change: Any) -> dict[str, Any]:
    languages = {"de": 304, "en": 302}
    return {
        "start": 301,
        "end": 300,
        "no_timestamps": 312,
        "first_timestamp": FIRST,
        "previous": 310,
        "no_speech": 311,
        "suppress": [],
        "suppress_first": [],
        "sampling_order": ["temperature", "max_initial_timestamp"],
        "vocabulary": 364,
        "multilingual": bool(change.get("languages", languages)),
        "languages": languages,
        "names": {code: [code] for code in change.get("languages", languages) or ["en"]},
        "tasks": {"transcribe": 308, "translate": 307},
        "max_length": 64,
        "rate": 16_000,
        "hop": 160,
        "context": 400,
        "frames": 100,
        "frames_per_timestamp": 2,
        "silence": -10.0,
        "alignment_heads": [],
    } | change


class _Listening(_Decoded):
    """A session of a Whisper that hears nothing: every window ends at once."""

    lock = nullcontext()

    def read(self, name: str, symbols: Mapping[str, int]) -> np.ndarray:
        if name == "loudest":
            return np.zeros((1, 1, 1), np.float32)
        assert name == "scores"
        return np.zeros((65, 2), np.float32)

    plan = SimpleNamespace(
        programs=dict.fromkeys(("mel", "encode", "detect", "prefill", "step")),
        symbols={"past": (0, 63), "new_tokens": (1, 64)},
    )


def _transcribed(count: int, settings: dict[str, Any], **options: Any) -> _Listening:
    session = _Listening(settings["end"])
    samples = np.arange(1, count + 1, dtype=np.float32) / count
    fake: Any = session
    tokenizer = _tokenizer(f"{FIXTURES}/whisper-merged-18/tokenizer.json")
    Transcriber(fake, settings, tokenizer).transcribe(samples, Options(require_speech=False, **options))
    return session


def windows() -> Iterator[Case]:
    """All runs of `mel`: those that measure a recording, then those that listen, window by window without times."""
    settings = _settings()
    for count in 1, 159, 160, 3_000, 15_800, 16_000, 16_001, 16_159, 16_160, 24_000, 32_100:
        session = _transcribed(count, settings, language="en", temperature=0, without_timestamps=True)
        runs = [_window(run, written["audio"], count) for program, run, written in session.runs if program == "mel"]
        sizes = {name: settings[name] for name in ("hop", "context", "frames")}
        yield {"samples": count, **sizes, "recording": max(1, count // settings["hop"]), "windows": runs}


def _window(run: Mapping[str, int], audio: np.ndarray, count: int) -> Case:
    """Samples of the recording are 1 / count, 2 / count, ..., so a window shows which it holds."""
    flat = audio.reshape(-1)
    held = np.flatnonzero(flat)
    before = int(held[0]) if held.size else 0
    first = round(float(flat[held[0]]) * count) - 1 if held.size else None
    after = int(flat.size - held[-1] - 1) if held.size else flat.size
    return {"first": first, "before": before, "after": after, "opening": run["opening"], "padding": run["padding"]}


def prompts() -> Iterator[Case]:
    many, english = _settings(), _settings(languages={}, tasks={})
    for settings, language, task, timed in (
        (many, "en", "transcribe", False),
        (many, "de", "transcribe", True),
        (many, "de", "translate", False),
        (english, "en", "transcribe", False),
        (english, "en", "transcribe", True),
    ):
        session = _transcribed(800, settings, language=language, task=task, temperature=0, without_timestamps=not timed)
        parts = [written["tokens"].tolist() for program, _, written in session.runs if program == "prefill"]
        tokens = [token for part in parts for token in part]
        model = {name: settings[name] for name in ("languages", "tasks", "start", "no_timestamps")}
        yield {**model, "language": language, "task": task, "timed": timed, "tokens": tokens}


def cuts() -> Iterator[Case]:
    at = [FIRST + i for i in range(51)]
    settings = Settings.parse(_settings())
    for tokens, size in (
        ([], 100),
        ([65], 70),
        ([at[0], 65], 70),
        ([at[10], 65], 70),
        ([at[10], 65, at[25]], 70),
        ([at[0], 65, at[20], at[25], 66], 100),
        ([at[0], 65, at[20], at[20]], 100),
        ([at[0], 65, at[20], at[25], 66, at[45]], 100),
        ([at[5], 65, at[20], at[25], 66, at[45], at[45], 67], 100),
        ([at[0], at[0], 65], 100),
        ([at[7]], 100),
        ([65, 66, at[30]], 45),
    ):
        parts, advance = cut(tokens, size, settings)
        shown = [{"start": p.start, "end": p.end, "tokens": list(p.tokens)} for p in parts]
        constants = {"first_timestamp": FIRST, "frames_per_timestamp": settings.frames_per_timestamp}
        yield {"tokens": tokens, "size": size, **constants, "pieces": shown, "advance": advance}


# text


TOKENIZERS = (
    f"{FIXTURES}/llama-optimum-18/tokenizer.json",
    f"{FIXTURES}/qwen3-genai/tokenizer.json",
    f"{FIXTURES}/whisper-merged-18/tokenizer.json",
    "pieces.json",
)
TEXTS = (
    "",
    "a",
    "Hello, world!",
    " ask not what your country can do for you",
    "5 € für Ärger, 你好 🎉",
    "a  b\n\n\tc",
    "<|endoftext|>",
    "it's 1,234.5",
)


@cache
def _tokenizer(path: str) -> Tokenizer:
    if path == "pieces.json":
        return Tokenizer(small_tokenizers.by_pieces().to_str().encode())
    return Tokenizer((ROOT / path).read_bytes())


def tokenizers() -> Iterator[Case]:
    for path in TOKENIZERS:
        tokenizer = _tokenizer(path)
        for words in TEXTS:
            for special in (True, False):
                tokens = tokenizer.encode(words, special)
                decoded = tokenizer.decode(tokens)
                yield {"tokenizer": path, "text": words, "special": special, "tokens": tokens, "decoded": decoded}


def decodings() -> Iterator[Case]:
    """Of beginnings of a text, which may end inside a character, and of its end alone."""
    for path in TOKENIZERS:
        tokenizer = _tokenizer(path)
        whole = tokenizer.encode("5 € 🎉 b", special=False)
        for tokens in (*(whole[:i] for i in range(len(whole) + 1)), whole[-3:]):
            yield {"tokenizer": path, "tokens": tokens, "text": tokenizer.decode(tokens)}


def streams() -> Iterator[Case]:
    for path in TOKENIZERS:
        tokenizer = _tokenizer(path)
        for prompt, words, stops in (
            ("", "one. two. three", ["."]),
            ("one", " two three", ["e", "two"]),
            ("5 €", "🎉 ab ab", []),
            ("a", "aaab", ["aab"]),
            ("a", "ababac", ["abac"]),
            ("a", "nothing", ["x", "nothinh"]),
            ("a", "almost sto", ["stop"]),
            ("a", "ab<x<en", ["<end>", "zz"]),
            ("user", " one\n\nUser: hi", ["\nUser:"]),
        ):
            before = tokenizer.encode(prompt, special=False)
            yield {"tokenizer": path, "prompt": before, **_stream(tokenizer, before, words, stops), "stops": stops}


def _stream(tokenizer: Tokenizer, prompt: list[int], words: str, stops: list[str]) -> Case:
    """The tokens of a text as they come, up to the one that completes a stop text."""
    text, tokens, told = Text(tokenizer, prompt, stops), tokenizer.encode(words, special=False), []
    for token in tokens:
        told.append(text.add(token))
        if text.stopped:
            break
    return {"tokens": tokens, "pieces": told, "rest": text.end(), "stopped": text.stopped}


def chat_templates() -> Iterator[Case]:
    model = (ROOT / FIXTURES / "llama-optimum-18" / "chat_template.jinja").read_text()
    for template, messages, tools in (
        (model, chats.ONE, None),
        (model, chats.SEVERAL, None),
        (chats.CHATML, chats.ONE, None),
        (chats.CHATML, chats.SEVERAL[:2], None),
        (chats.TURNS, chats.ONE, None),
        (chats.TURNS, chats.SEVERAL, None),
        (chats.TOOLS, chats.SEVERAL, None),
        (chats.TOOLS, chats.SEVERAL, [chats.WEATHER]),
    ):
        try:
            rendered = ChatTemplate(template, chats.SPECIAL).render(messages, tools)
        except ValueError as error:
            assert "refuses these messages" in str(error)
            rendered = None
        given = {"template": template, "special": chats.SPECIAL, "messages": messages, "tools": tools}
        yield {**given, "text": rendered}


if __name__ == "__main__":
    FILE.write_text(text())
