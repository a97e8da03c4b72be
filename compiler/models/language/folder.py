"""Read the folder of a language model: file, sizes, end tokens, sampling defaults, tokenizer, chat template."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import genai, tokenizer_files
from intaglio.compiler.models.embedding import refuse_missing
from intaglio.compiler.models.layout import EMBED, MODEL, Layout
from intaglio.compiler.reader import load
from intaglio.runtime.contract import SAMPLING_OPTIONS

LIMITS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")  # of config.json
LONGEST = 2048  # tokens of the cache unless the user requests more
MOST = 1 << 17  # tokens that masks are evaluated for, and that kernels count to
CHUNK = 256  # tokens that one run of prefill takes
_TEXT = ("text_config", "llm_config", "language_config")  # of config.json: the section of the text model


@dataclass(frozen=True)
class Folder:
    """An exported language model with room for `context` tokens. `files` are copied into the bundle.

    embedding: the file that computes the decoder's rows from tokens, if it is not part of the decoder.
    """

    decoder: Path
    embedding: Path | None
    context: int
    settings: dict[str, Any]
    files: dict[str, bytes]
    notes: list[str]
    sizes: dict[str, int]  # the sizes of named cache dimensions
    vocabulary: int | None  # the width of the logits


def matches(layout: Layout) -> bool:
    """Return whether the model continues texts, by its configuration, GenAI's builder, its files or its inputs."""
    config = layout.json("config.json")
    if (built := genai.read(layout)) is not None:
        embedded = built.embedding is not None
        return built.encoder is None and (embedded or not config or _continues_texts(config))
    if not (layout.is_named(MODEL) if layout.named else layout.has(MODEL)):
        return False
    return _continues_texts(config) or layout.has(EMBED) or _past(_inputs(layout.file(MODEL).path))


def _continues_texts(config: dict[str, Any]) -> bool:
    return any(str(a).endswith(("ForCausalLM", "LMHeadModel")) for a in config.get("architectures") or [])


def _inputs(decoder: Path) -> list[str]:
    return [i.name for i in load.read(decoder).graph.input]


def _past(inputs: list[str]) -> bool:
    """Return whether these are the inputs of a decoder with a cache and without an encoder."""
    return any(name.startswith("past") for name in inputs) and not any(name.startswith("encoder") for name in inputs)


def read(layout: Layout, max_length: int | None = None) -> Folder:
    """Read the folder. max_length: the tokens of prompt and answer together.

    Raises BadModel, which names the wrong file or setting.
    """
    built = genai.read(layout)
    config = layout.json("config.json") or (built.config if built else {})
    decoder = built.decoder if built else layout.file(MODEL).path
    embedding = built.embedding if built and built.embedding else _embedding(layout, decoder, config)
    generation = layout.json("generation_config.json") or (built.generation if built else {})
    tokenizer, special = tokenizer_files.read(layout), tokenizer_files.special_tokens(layout)
    text = config | next((config[key] for key in _TEXT if isinstance(config.get(key), dict)), {})
    limit, vocabulary = _limit(text), text.get("vocab_size")
    context = _context(layout, limit, max_length)
    notes = _notes(layout, config, generation, tokenizer) if built is None else []
    if embedding is not None:
        notes.append("the bundle takes and gives texts; the parts of the model for images and sounds are left out")
    if max_length is None and limit is not None and limit > context:
        notes.append(f"the context is {context} tokens of the model's {limit}; compile with --max-length N for more")
    start, end = (_token(name, (generation, config, text), tokenizer, special) for name in ("bos_token", "eos_token"))
    settings = {
        "context": context,
        "chunk": min(CHUNK, context),
        "end": sorted({int(i) for i in (end if isinstance(end, list) else [end]) if i is not None}),
        "start": start,
        "sampling": {k: generation[k] for k in SAMPLING_OPTIONS if isinstance(generation.get(k), int | float)},
        "sampling_order": [*SAMPLING_OPTIONS],
        "special": special,
    }
    sizes = built.sizes if built else {}
    return Folder(decoder, embedding, context, settings, _files(layout, tokenizer), notes, sizes, vocabulary)


def _embedding(layout: Layout, decoder: Path, config: dict[str, Any]) -> Path | None:
    """Return the file of a separate embedding, if any. Raises BadModel if it is missing, or for inputs of images."""
    if layout.has(EMBED):
        return layout.file(EMBED).path
    if not _continues_texts(config):
        refuse_missing(_inputs(decoder), decoder)
    return None


def _token(name: str, places: Iterable[dict[str, Any]], tokenizer: bytes | None, special: dict[str, str]) -> Any:
    """Return the id or ids of a special token, from the first settings that have it or else from the tokenizer."""
    for settings in places:
        if settings.get(f"{name}_id") is not None:
            return settings[f"{name}_id"]
    return tokenizer_files.token_id(tokenizer, special.get(name))


def _limit(config: dict[str, Any]) -> int | None:
    """Return the context length of the model, or None if the configuration does not have it."""
    return next((config[k] for k in LIMITS if isinstance(config.get(k), int) and config[k] > 0), None)


def _context(layout: Layout, limit: int | None, max_length: int | None) -> int:
    if max_length is None:
        return min(limit or LONGEST, LONGEST)
    most = min(limit or MOST, MOST)
    if not 1 <= max_length <= most:
        why = f"the context length of {layout}" if most == limit else "the longest that kernels support"
        raise BadModel(f"--max-length is {max_length}; expected 1 to {most}, {why}")
    return max_length


def _files(layout: Layout, tokenizer: bytes | None) -> dict[str, bytes]:
    files = {"tokenizer.json": tokenizer, "chat_template.jinja": tokenizer_files.chat_template(layout)}
    return {name: content for name, content in files.items() if content is not None}


def _notes(layout: Layout, config: dict[str, Any], generation: dict[str, Any], tokenizer: bytes | None) -> list[str]:
    """Return messages for the user about missing files and about settings that do not apply."""
    notes = []
    if not config:
        notes.append(f"{layout} has no config.json; the inputs of the model say that it continues texts")
    elif not _continues_texts(config) and not layout.has(EMBED):
        kind = (config.get("architectures") or [config.get("model_type")])[0]
        notes.append(f"config.json is of {kind}; the inputs of the model say that it continues texts")
    if tokenizer is None:
        notes.append(f"{layout} has no tokenizer.json, so texts are empty; copy it there and compile again")
    if int(generation.get("num_beams") or 1) > 1:
        notes.append(f"generation_config.json asks for {generation['num_beams']} beams; decoding uses one")
    if isinstance(limit := generation.get("max_new_tokens"), int):
        notes.append(f"generation_config.json ends texts after {limit} tokens; run with --max-tokens {limit} for that")
    return notes
