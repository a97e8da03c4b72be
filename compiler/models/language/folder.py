"""The folder of a language model's export: file, sizes, end tokens, sampling defaults, tokenizer, chat template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import genai
from intaglio.compiler.models.layout import MODEL, Layout
from intaglio.compiler.reader.pointers import refuse_pointer
from intaglio.runtime.contract import SAMPLING_OPTIONS

LIMITS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")  # of config.json
LONGEST = 2048  # tokens that a cache is made for unless the user asks for more
MOST = 8192  # tokens that masks can be understood for
CHUNK = 256  # tokens that prefill takes at a time
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True)
class Folder:
    """A language model as an exporter leaves it, with room for `context` tokens. `files` go into the bundle as is."""

    decoder: Path
    context: int
    settings: dict[str, Any]
    files: dict[str, bytes]
    notes: list[str]
    sizes: dict[str, int]  # of dimensions that the file gives names
    vocabulary: int | None  # the width of the logits


def matches(layout: Layout) -> bool:
    """Whether the configuration says that the model continues texts, or GenAI's builder left it."""
    config = layout.json("config.json")
    if not config:
        return (built := genai.read(layout)) is not None and built.encoder is None
    architectures = [str(a) for a in config.get("architectures") or []]
    if layout.named and not layout.is_named(MODEL):
        return False
    return (layout.has(MODEL) or genai.read(layout) is not None) and any(
        a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures
    )


def read(layout: Layout, max_length: int | None = None) -> Folder:
    """`max_length`: tokens of prompt and answer together. Raises BadModel, naming the file or setting at fault."""
    built = genai.read(layout)
    config = layout.json("config.json", required=built is None) or built.config
    generation = layout.json("generation_config.json") or (built.generation if built else {})
    tokenizer = layout.json("tokenizer_config.json")
    text = config.get("text_config", config)
    limit, vocabulary = _limit(text), text.get("vocab_size")
    context = _context(layout, limit, max_length)
    notes = []
    if max_length is None and limit is not None and limit > context:
        notes.append(f"the context is {context} tokens of the model's {limit}; compile with --max-length N for more")
    end = generation.get("eos_token_id", config.get("eos_token_id"))
    settings = {
        "context": context,
        "chunk": min(CHUNK, context),
        "end": sorted({int(i) for i in (end if isinstance(end, list) else [end]) if i is not None}),
        "start": generation.get("bos_token_id", config.get("bos_token_id")),
        "sampling": {k: generation[k] for k in SAMPLING_OPTIONS if isinstance(generation.get(k), int | float)},
        "sampling_order": [*SAMPLING_OPTIONS],
        "special": {k: _text(tokenizer[k]) for k in SPECIAL if tokenizer.get(k)},
    }
    decoder = built.decoder if built else layout.file(MODEL).path
    sizes = built.sizes if built else {}
    return Folder(decoder, context, settings, _files(layout, tokenizer), notes, sizes, vocabulary)


def _limit(config: dict[str, Any]) -> int | None:
    """The number of tokens that the model was made for, if the configuration says so."""
    return next((config[k] for k in LIMITS if isinstance(config.get(k), int) and config[k] > 0), None)


def _context(layout: Layout, limit: int | None, wanted: int | None) -> int:
    if wanted is None:
        return min(limit or LONGEST, LONGEST)
    most = min(limit or MOST, MOST)
    if not 1 <= wanted <= most:
        why = f"the context length of {layout}" if most == limit else "the longest that kernels support"
        raise BadModel(f"--max-length is {wanted}; expected 1 to {most}, {why}")
    return wanted


def _files(layout: Layout, tokenizer: dict[str, Any]) -> dict[str, bytes]:
    files = {}
    if path := layout.find("tokenizer.json"):
        refuse_pointer(path)
        files["tokenizer.json"] = path.read_bytes()
    template = tokenizer.get("chat_template")
    if isinstance(template, list):  # several by name
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    if path := layout.find("chat_template.jinja"):
        files["chat_template.jinja"] = path.read_bytes()
    elif isinstance(template, str):
        files["chat_template.jinja"] = template.encode()
    return files


def _text(token: Any) -> str:
    """A special token, which is a text, or an object that holds it."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)
