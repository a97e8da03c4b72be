"""Read the tokenizer of a model: tokenizer.json, or one that the tokenizers library builds from older files.

The older files are vocab.json and merges.txt, a byte-level BPE as in GPT-2, or vocab.txt, word pieces as in BERT. Other
files list the special tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models.layout import Layout

FILE, VOCABULARY, MERGES, PIECES = "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"
SETTINGS, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
NAMES = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")

# Tokenizer classes of transformers, without "Fast".
_GPT2 = ("GPT2Tokenizer", "WhisperTokenizer", "CodeGenTokenizer")
_QWEN2 = "Qwen2Tokenizer"
_ROBERTA = ("RobertaTokenizer", "BartTokenizer", "LongformerTokenizer")
_MPNET = "MPNetTokenizer"
_BERT = tuple(f"{name}Tokenizer" for name in "Bert DistilBert Electra ConvBert MobileBert SqueezeBert LayoutLM".split())
_WORDS_OF_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_AGAIN = "save tokenizer.json with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


def read(layout: Layout) -> bytes | None:
    """Return the tokenizer.json of a model, or None if it has no tokenizer. Raises BadModel if the files are broken."""
    if (path := layout.find(FILE)) is not None:
        return path.read_bytes()
    byte_level = layout.find(VOCABULARY) is not None and layout.find(MERGES) is not None
    if not byte_level and layout.find(PIECES) is None:
        return None
    settings = layout.json(SETTINGS)
    kind = str(settings.get("tokenizer_class") or _kind(layout, byte_level)).removesuffix("Fast")
    if kind not in ((*_GPT2, _QWEN2, *_ROBERTA) if byte_level else (*_BERT, _MPNET)):
        raise BadModel(f"{layout} has no tokenizer.json, and none can be made for a {kind}; {_AGAIN}")
    try:
        special = special_tokens(layout)
        tokenizer = (_byte_level if byte_level else _word_pieces)(layout, kind, special, settings)
        lists = [named.get("additional_special_tokens") or () for named in (settings, layout.json(SPECIAL))]
        listed = [token for tokens in lists for token in tokens]
        _add(tokenizer, {*special.values(), *map(_text, listed)}, settings, layout.json(ADDED))
        _surround(tokenizer, kind, special, settings)
        return tokenizer.to_str().encode()
    except BadModel:
        raise
    except Exception as e:  # the library raises nothing more precise
        names = f"{VOCABULARY} and {MERGES}" if byte_level else PIECES
        raise BadModel(f"the {names} of {layout} are broken: {e}; copy the files again") from e


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


def _kind(layout: Layout, byte_level: bool) -> str:
    model = layout.json("config.json").get("model_type")
    if not byte_level:
        return _MPNET if model == "mpnet" else "BertTokenizer"
    return _QWEN2 if model == "qwen2" else "RobertaTokenizer" if model == "roberta" else "GPT2Tokenizer"


# The tokenizers that transformers' convert_slow_tokenizer makes


def _byte_level(layout: Layout, kind: str, special: Mapping[str, str], settings: Mapping[str, Any]) -> Tokenizer:
    vocabulary = {str(token): int(i) for token, i in layout.json(VOCABULARY).items()}
    lines = _lines(layout, MERGES)
    merges = [(a, b) for a, b in (line.split() for line in lines if line and not line.startswith("#version"))]
    spaced = bool(settings.get("add_prefix_space", False))  # add a space before a text
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


def _word_pieces(layout: Layout, kind: str, special: Mapping[str, str], settings: Mapping[str, Any]) -> Tokenizer:
    pieces = [line.rstrip("\r") for line in _lines(layout, PIECES)]
    vocabulary = {piece: i for i, piece in enumerate(pieces[:-1] if pieces[-1:] == [""] else pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special.get("unk_token", "[UNK]")))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=settings.get("strip_accents"),
        lowercase=bool(settings.get("do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _lines(layout: Layout, name: str) -> list[str]:
    path = layout.find(name)
    return path.read_text(encoding="utf-8").split("\n") if path else []


def _surround(tokenizer: Tokenizer, kind: str, special: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """Let the tokenizer add its special tokens around a text."""

    def token(name: str, default: str) -> tuple[str, int]:
        text = special.get(name, default)
        i = tokenizer.token_to_id(text)
        if i is None:
            raise BadModel(f"the vocabulary of the tokenizer lacks the {name} {text!r}; {_AGAIN}")
        return text, i

    if kind in _ROBERTA:
        ends = token("sep_token", "</s>"), token("cls_token", "<s>")
        spaced = bool(settings.get("add_prefix_space", False))
        tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=spaced)
    elif kind in (*_BERT, _MPNET):
        roberta = kind == _MPNET
        cls, sep = token("cls_token", "<s>" if roberta else "[CLS]"), token("sep_token", "</s>" if roberta else "[SEP]")
        second = f"{sep[0]}:0 " * roberta  # a pair has two separators between its texts
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{cls[0]}:0 $A:0 {sep[0]}:0",
            pair=f"{cls[0]}:0 $A:0 {sep[0]}:0 {second}$B:1 {sep[0]}:1",
            special_tokens=[cls, sep],
        )
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
