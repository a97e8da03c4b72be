"""Whisper's next token, against the logit filters of the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from parity import (
    Build,
    compiled,
    opened,
)
from reference import filtered

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import WhisperToken
from intaglio.compiler.models.whisper.family import bits

P = dim(Symbol("P", 0, 63))


def test_the_next_token(tmp_path: Path) -> None:
    """WhisperToken, against the logit filters of the reference, for random logits and histories."""
    random = np.random.default_rng(0)
    text, size = 40, 40 + 5 + 31  # texts, special tokens, timestamps
    settings = {"end": text, "no_timestamps": text + 4, "first_timestamp": text + 5, "max_initial_timestamp": 10}
    suppress, suppress_first = [3, 17, text + 1, text + 2, text + 3, text + 4], [5, text]
    generation = {
        "eos_token_id": settings["end"],
        "no_timestamps_token_id": settings["no_timestamps"],
        "suppress_tokens": suppress,
        "begin_suppress_tokens": suppress_first,
        "max_initial_timestamp_index": settings["max_initial_timestamp"],
    }
    b = Build()
    logits, state = b.input("logits", 1, 1, size), b.state("tokens", 1, 20, 1, dtype="i32")
    begin, timed = dim(Symbol("begin", 0, 20)), dim(Symbol("timed", 0, 1))
    lists = (b.constant(bits(tokens, size)) for tokens in (suppress, suppress_first))
    made = b.graph.value("token", state.type)
    choice = WhisperToken(logits, *lists, state, at=P + 1, begin=begin, timed=timed, **settings)
    b.graph.add(Node.of(choice, (made,), ("sampling",)))
    session = opened(compiled(b.output(), tmp_path / "bundle"))
    for _ in range(150):
        at, count = 3, int(random.integers(0, 5))
        times = np.sort(random.integers(text + 5, size, count))
        sampled = np.where(random.random(count) < 0.5, times, random.integers(0, text, count)).tolist()
        symbols = {"P": at + count - 1, "begin": at, "timed": int(random.random() < 0.7)}
        values = random.standard_normal(size).astype(np.float32)
        values[text + 5 :] += random.choice([-3, 0, 3])
        tokens = np.zeros((1, 20, 1), np.int32)
        tokens[0, at : at + count, 0] = sampled
        session.run("main", {"logits": values[None, None], "tokens": tokens}, symbols)
        expected = int(filtered(values, sampled, bool(symbols["timed"]), generation).argmax())
        assert int(session.read("tokens", symbols)[0, at + count, 0]) == expected, (sampled, symbols)
