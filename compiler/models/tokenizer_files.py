"""Read the tokenizer of a model: tokenizer.json, or one that the tokenizers library builds from older files.

The older files are vocab.json and merges.txt, a byte-level BPE as in GPT-2. Other files list the special tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models.layout import Layout

FILE, VOCABULARY, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
SETTINGS, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
NAMES = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")

# Tokenizer classes of transformers, without "Fast".
_GPT2 = ("GPT2Tokenizer", "WhisperTokenizer", "CodeGenTokenizer")
_QWEN2 = "Qwen2Tokenizer"
_ROBERTA = ("RobertaTokenizer", "BartTokenizer", "LongformerTokenizer")
_WORDS_OF_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_AGAIN = "save tokenizer.json with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


def read(layout: Layout) -> bytes | None:
    """Return the tokenizer.json of a model, or None if it has no tokenizer. Raises BadModel if the files are broken."""
    if (path := layout.find(FILE)) is not None:
        return path.read_bytes()
    merges = layout.find(MERGES)
    if layout.find(VOCABULARY) is None or merges is None:
        return None
    settings = layout.json(SETTINGS)
    kind = str(settings.get("tokenizer_class") or _kind(layout)).removesuffix("Fast")
    if kind not in (*_GPT2, _QWEN2, *_ROBERTA):
        raise BadModel(f"{layout} has no tokenizer.json, and none can be made for a {kind}; {_AGAIN}")
    try:
        vocabulary = {str(token): int(i) for token, i in layout.json(VOCABULARY).items()}
        lines = merges.read_text(encoding="utf-8").split("\n")
        pairs = [(a, b) for a, b in (line.split() for line in lines if line and not line.startswith("#version"))]
        tokenizer = _tokenizer(kind, vocabulary, pairs, bool(settings.get("add_prefix_space", False)))
        special = special_tokens(layout)
        lists = [named.get("additional_special_tokens") or () for named in (settings, layout.json(SPECIAL))]
        listed = [token for tokens in lists for token in tokens]
        _add(tokenizer, {*special.values(), *map(_text, listed)}, settings, layout.json(ADDED))
        _surround(tokenizer, kind, special, settings)
        return tokenizer.to_str().encode()
    except BadModel:
        raise
    except Exception as e:  # the library raises nothing more precise
        raise BadModel(f"the {VOCABULARY} and {MERGES} of {layout} are broken: {e}; copy the files again") from e


def special_tokens(layout: Layout) -> dict[str, str]:
    """Return the texts of special tokens by name, such as bos_token. tokenizer_config.json has priority."""
    named = layout.json(SPECIAL) | {k: v for k, v in layout.json(SETTINGS).items() if v is not None}
    return {name: _text(named[name]) for name in NAMES if named.get(name)}


def token_id(tokenizer: bytes | None, text: str | None) -> int | None:
    """Return the id of a special token by its text, or None. Raises BadModel if the tokenizer is broken."""
    try:
        tokens = json.loads(tokenizer or b"{}").get("added_tokens") or []
        return next((int(token["id"]) for token in tokens if token["content"] == text), None)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise BadModel(f"{FILE} is broken: {e}; save the model's tokenizer again") from e


def _kind(layout: Layout) -> str:
    model = layout.json("config.json").get("model_type")
    return _QWEN2 if model == "qwen2" else "RobertaTokenizer" if model == "roberta" else "GPT2Tokenizer"


def _tokenizer(kind: str, vocabulary: dict[str, int], merges: list[tuple[str, str]], spaced: bool) -> Tokenizer:
    """Return the tokenizer that transformers' convert_slow_tokenizer makes. spaced: add a space before a text."""
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    if kind == _QWEN2:
        tokenizer.normalizer = normalizers.NFC()
        words = pre_tokenizers.Split(Regex(_WORDS_OF_QWEN2), behavior="isolated", invert=False)
        letters = pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, letters])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _surround(tokenizer: Tokenizer, kind: str, special: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """Let the tokenizer add its special tokens around a text."""

    def token(name: str, default: str) -> tuple[str, int]:
        text = special.get(name, default)
        i = tokenizer.token_to_id(text)
        if i is None:
            raise BadModel(f"{VOCABULARY} lacks the {name} {text!r}; {_AGAIN}")
        return text, i

    if kind in _ROBERTA:
        ends = token("sep_token", "</s>"), token("cls_token", "<s>")
        spaced = bool(settings.get("add_prefix_space", False))
        tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=spaced)
    elif settings.get("add_bos_token"):
        bos, i = token("bos_token", "<|endoftext|>")
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 {bos}:1 $B:1", special_tokens=[(bos, i)]
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)


def _add(tokenizer: Tokenizer, special: set[str], settings: Mapping[str, Any], added: Mapping[str, Any]) -> None:
    """Add tokens in the order of their ids. Raises BadModel if the library gives them other ids."""
    tokens = {int(i): _added(token) for i, token in (settings.get("added_tokens_decoder") or {}).items()}
    for text, i in added.items():
        tokens.setdefault(int(i), AddedToken(text, special=text in special, normalized=text not in special))
    for text in sorted(special):
        if (i := tokenizer.token_to_id(text)) is not None:
            tokens.setdefault(i, AddedToken(text, special=True, normalized=False))
    for i, token in sorted(tokens.items()):
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
        if tokenizer.token_to_id(token.content) != i:
            raise BadModel(f"the token {token.content!r} has the id {i}, which is not the next one; {_AGAIN}")


def _added(token: Mapping[str, Any]) -> AddedToken:
    flags = {name: bool(token[name]) for name in _FLAGS if name in token}
    return AddedToken(token["content"], special=bool(token.get("special")), **flags)


def _text(token: Any) -> str:
    """Return the text of a special token, which is a string or an object with the content."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


def chat_template(layout: Layout) -> bytes | None:
    """Return the chat template of a model, the default one of several, or None."""
    if path := layout.find("chat_template.jinja"):
        return path.read_bytes()
    for name in ("chat_template.json", SETTINGS):
        template = next(_templates(layout.json(name).get("chat_template")), None)
        if template is not None:
            return template.encode()
    return None


def _templates(template: Any) -> Iterator[str]:
    """Yield the templates of a setting, which is a string or a list by name. The default one comes first."""
    if isinstance(template, str):
        yield template
    elif isinstance(template, list):
        named = [t for t in template if isinstance(t, dict) and isinstance(t.get("template"), str)]
        yield from (t["template"] for t in sorted(named, key=lambda t: t.get("name") != "default"))
