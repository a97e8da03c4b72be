"""Read the folder of a text encoder: file, length, pooling, labels, tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import genai, tokenizer_files
from intaglio.compiler.models.encoder import pooling
from intaglio.compiler.models.encoder.ports import ROWS, SCORES, Ports
from intaglio.compiler.models.layout import MODEL, Layout
from intaglio.compiler.reader import load

MOST = 1 << 17  # tokens that masks are evaluated for, and that kernels count to
LONGEST = 8192  # tokens of a text unless the user requests more
UNKNOWN = 512  # tokens of a text if no file says how many
BYTES = 128 << 20  # of a buffer that any adapter binds

# Files of sentence-transformers that have the length of texts. Older versions name them by architecture.
LENGTHS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "max_trained_positions")

# Model types whose positions begin after the padding token.
_OFFSET = frozenset(
    "roberta xlm-roberta xlm-roberta-xl roberta-prelayernorm camembert mpnet data2vec-text ibert".split()
)
# Model types that are encoders of texts whatever their outputs are called.
_ENCODERS = _OFFSET | frozenset(
    "albert bert convbert deberta deberta-v2 distilbert electra ernie esm eurobert flaubert funnel gte jina_bert"
    " megatron-bert mobilebert modernbert nomic_bert new nezha rembert roformer squeezebert xlm xlnet yoso".split()
)


@dataclass(frozen=True)
class Folder:
    """An exported encoder for texts of up to `length` tokens. `files` are copied into the bundle.

    first: the position of the first token, where positions are an input. vocabulary: the number of tokens, if known.
    """

    encoder: Path
    ports: Ports
    length: int
    first: int
    settings: dict[str, Any]
    files: dict[str, bytes]
    notes: list[str]
    vocabulary: int | None


def matches(layout: Layout) -> bool:
    """Return whether the model turns texts into rows or scores, by its configuration, inputs and outputs."""
    if genai.files(layout) or not (layout.is_named(MODEL) if layout.named else layout.has(MODEL)):
        return False
    config = layout.json("config.json")
    sentences = any(map(layout.find, pooling.FILES))
    if not (config or sentences or layout.find(tokenizer_files.FILE)) or (_continues_texts(config) and not sentences):
        return False
    try:
        path = layout.file(MODEL).path
    except BadModel:  # several dtypes: reading the model says so
        path = None
    if path is None or not path.is_file():
        return sentences or _encodes(config)
    return Ports.read(load.read(path), _encodes(config)) is not None


def _continues_texts(config: dict[str, Any]) -> bool:
    return any(str(a).endswith(("ForCausalLM", "LMHeadModel")) for a in config.get("architectures") or [])


def _encodes(config: dict[str, Any]) -> bool:
    return config.get("model_type") in _ENCODERS


def read(layout: Layout, max_length: int | None = None) -> Folder:
    """Read the folder. max_length: the tokens of the longest text. Raises BadModel, which names the wrong file."""
    path, config = layout.file(MODEL).path, layout.json("config.json")
    ports = Ports.read(load.read(path), _encodes(config))
    if ports is None:
        raise BadModel(
            f"{path} is not a text encoder: it needs token ids [texts, tokens], and rows or scores as output"
        )
    first = int(config.get("pad_token_id") or 0) + 1 if config.get("model_type") in _OFFSET else 0
    notes: list[str] = []
    length = _length(layout, config, first, max_length, notes)
    tokenizer = tokenizer_files.read(layout)
    if tokenizer is None:
        notes.append(f"{layout} has no tokenizer.json, so texts are token ids; copy it there and compile again")
    settings: dict[str, Any] = {
        "length": length,
        "side": _side(layout),
        "masks": [*ports.masks],
        "output": ports.output,
    }
    if ports.result == ROWS:
        settings |= _pooling(layout, notes)
    elif ports.result == SCORES:
        settings |= _labels(config)
    else:
        settings |= {"pooling": [], "normalize": False, "prompt": ""}
    files = {} if tokenizer is None else {"tokenizer.json": tokenizer}
    vocabulary = config.get("vocab_size")
    return Folder(path, ports, length, first, settings, files, notes, vocabulary)


def _pooling(layout: Layout, notes: list[str]) -> dict[str, Any]:
    pool = pooling.read(layout)
    if not pool.stated:
        notes.append(f"{layout} has no {pooling.POOLING}; embed gives the mean over the tokens of a text")
    if pool.prompt:
        notes.append(f"{pooling.PROMPTS} has the default prompt {pool.prompt[:60]!r}; embed puts it before each text")
    return {"pooling": [*pool.modes], "normalize": pool.normalize, "prompt": pool.prompt}


def _labels(config: dict[str, Any]) -> dict[str, Any]:
    """Return the labels of a classifier, and the function that transformers' pipeline applies to its scores."""
    named = config.get("id2label") or {}
    labels = [str(named[key]) for key in sorted(named, key=int)]
    problem = config.get("problem_type")
    single = problem is None and len(labels) == 1
    return {
        "labels": labels,
        "scores": {"regression": "none", "multi_label_classification": "sigmoid"}.get(
            str(problem), "sigmoid" if single else "softmax"
        ),
    }


def _side(layout: Layout) -> str:
    return str(layout.json(tokenizer_files.SETTINGS).get("truncation_side") or "right")


def _length(layout: Layout, config: dict[str, Any], first: int, max_length: int | None, notes: list[str]) -> int:
    """Return the tokens of the longest text: what was requested, or what the model's files say."""
    text = config.get("text_config", config)
    limit = next((text[key] - first for key in _LIMITS if isinstance(text.get(key), int) and text[key] > first), None)
    widest = max(2 * _number(text, "intermediate_size"), 3 * _number(text, "hidden_size"), 1)
    most = min(limit or MOST, MOST, BYTES // (4 * widest))
    if max_length is not None:
        if not 1 <= max_length <= most:
            why = f"the most that {layout} takes" if most == limit else "the longest that kernels support"
            raise BadModel(f"--max-length is {max_length}; expected 1 to {most}, {why}")
        return max_length
    stated = [_number(layout.json(name), "max_seq_length") for name in LENGTHS]
    stated.append(_number(layout.json(tokenizer_files.SETTINGS), "model_max_length"))
    length = next((n for n in stated if 0 < n <= most), limit or UNKNOWN)
    if length > (longest := min(LONGEST, most)):
        more = f"; compile with --max-length {most} for more" if most > longest else ""
        notes.append(f"texts are up to {longest} tokens of the model's {length}{more}")
    return min(length, longest)


def _number(settings: dict[str, Any], key: str) -> int:
    value = settings.get(key)
    return value if isinstance(value, int) else 0
