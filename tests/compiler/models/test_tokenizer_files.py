"""Tokenizers of old folders, which have vocab.json and merges.txt, against what transformers 4.57.6 makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import tokenizer_files
from intaglio.compiler.models.layout import Layout

FIXTURE = json.loads((Path(__file__).parents[2] / "fixtures/whisper-merged-18/tokenizer.json").read_text())
END = "<|endoftext|>"
TEXT = "It's 2024!  Two\n\nça va 12345"
BODY = [40, 83, 6, 82, 220, 17, 15, 17, 19, 0, 220, 220, 51, 86, 78, 198, 198, 127, 100, 64, 220, 85, 64, 220]
BODY += [16, 17, 18, 19, 20]
SPECIAL = "<|startoftranscript|> b<|im_start|><mask> y"
_START = [27, 91, 82, 83, 64, 81, 83, 267, 270, 258, 82, 66, 81, 72, 79, 83, 91, 29]  # <|startoftranscript|>, spelled
_IM_START = [27, 91, 72, 76, 62, 82, 83, 64, 81, 83, 91, 29]
_MASK = [27, 76, 64, 286, 29]


def token(content: str) -> dict[str, Any]:
    return {"content": content, "special": True} | dict.fromkeys(
        ("lstrip", "normalized", "rstrip", "single_word"), False
    )


def write(folder: Path, kind: str, more: tuple[str, ...], **files: Any) -> Layout:
    """A folder with the fixture's vocabulary, and `more` tokens at its end."""
    vocabulary = FIXTURE["model"]["vocab"] | {text: 300 + i for i, text in enumerate(more)}
    settings = {"tokenizer_class": kind} | files.pop("tokenizer_config", {})
    for name, content in ({"vocab": vocabulary, "tokenizer_config": settings} | files).items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    merges = "\n".join(" ".join(pair) for pair in FIXTURE["model"]["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return Layout(str(folder), (folder,), {})


def encoded(layout: Layout) -> list[list[int]]:
    tokenizer = tokenizers.Tokenizer.from_buffer(tokenizer_files.read(layout))
    return [tokenizer.encode(text).ids for text in (TEXT, SPECIAL)]


GPT2 = {"special_tokens_map": {"bos_token": END, "eos_token": END, "unk_token": END}}


def test_gpt2(tmp_path: Path) -> None:
    body = [*_START, 220, 65, *_IM_START, *_MASK, 220, 88]
    assert encoded(write(tmp_path, "GPT2Tokenizer", (END,), **GPT2)) == [BODY, body]
    layout = write(tmp_path, "GPT2TokenizerFast", (END,), **GPT2, tokenizer_config={"add_bos_token": True})
    assert encoded(layout) == [[300, *BODY], [300, *body]]


def test_whisper(tmp_path: Path) -> None:
    """Its runtime writes the tokens of a prompt itself, so the tokenizer puts nothing around a text."""
    added = {t["content"]: t["id"] for t in FIXTURE["added_tokens"] if t["id"] > 300}
    names = GPT2["special_tokens_map"] | {
        "additional_special_tokens": [t["content"] for t in FIXTURE["added_tokens"] if t["special"]]
    }
    layout = write(tmp_path, "WhisperTokenizer", (END,), added_tokens=added, special_tokens_map=names)
    assert encoded(layout) == [BODY, [301, 220, 65, *_IM_START, *_MASK, 220, 88]]
    tokens = json.loads(tokenizer_files.read(layout))["added_tokens"]
    assert {(t["id"], t["content"], t["special"]) for t in tokens} == {
        (t["id"], t["content"], t["special"]) for t in FIXTURE["added_tokens"]
    }


def test_qwen2(tmp_path: Path) -> None:
    decoder = {"300": token(END), "301": token("<|im_start|>")}
    settings = {"added_tokens_decoder": decoder, "additional_special_tokens": None}
    layout = write(tmp_path, "Qwen2Tokenizer", (), tokenizer_config=settings)
    assert encoded(layout) == [BODY, [*_START, 220, 65, 301, *_MASK, 220, 88]]


def test_roberta(tmp_path: Path) -> None:
    more = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), more, strict=True))
    layout = write(tmp_path, "RobertaTokenizer", more, special_tokens_map=names)
    assert encoded(layout) == [[300, *BODY, 302], [300, *_START, 220, 65, *_IM_START, 304, 220, 88, 302]]


def test_what_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"CLIPTokenizer.*save_pretrained"):
        tokenizer_files.read(write(tmp_path, "CLIPTokenizer", ()))
    with pytest.raises(BadModel, match="'<far>' has the id 400"):
        tokenizer_files.read(write(tmp_path, "GPT2Tokenizer", (END,), added_tokens={"<far>": 400}))
    layout = write(tmp_path, "GPT2Tokenizer", (END,), added_tokens={})
    (tmp_path / "merges.txt").write_text("one two three\n")
    with pytest.raises(BadModel, match=r"merges\.txt .* broken"):
        tokenizer_files.read(layout)
    (tmp_path / "merges.txt").unlink()
    assert tokenizer_files.read(layout) is None


def test_special_tokens_of_old_folders(tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": {"content": "<s>"}, "eos_token": "</s>"})
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": None, "eos_token": "<e>"}))
    layout = Layout(str(tmp_path), (tmp_path,), {})
    assert tokenizer_files.special_tokens(layout) == {"bos_token": "<s>", "eos_token": "<e>"}


@pytest.mark.parametrize(
    "files, expected",
    [
        ({"chat_template.jinja": "a", "chat_template.json": '{"chat_template": "b"}'}, b"a"),
        ({"chat_template.json": '{"chat_template": "b"}', "tokenizer_config.json": '{"chat_template": "c"}'}, b"b"),
        (
            {
                "tokenizer_config.json": json.dumps(
                    {"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}
                )
            },
            b"d",
        ),
        ({"chat_template.json": '{"chat_template": [{"name": "rag", "template": "r"}]}'}, b"r"),
        ({"tokenizer_config.json": "{}"}, None),
    ],
)
def test_chat_templates(tmp_path: Path, files: dict[str, str], expected: bytes | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert tokenizer_files.chat_template(Layout(str(tmp_path), (tmp_path,), {})) == expected


def test_word_pieces(tmp_path: Path) -> None:
    """The tokenizer of vocab.txt is the tokenizer.json that transformers writes for the same vocabulary."""
    minilm = Path(__file__).parents[2] / "fixtures" / "encoders" / "minilm"
    theirs = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
    pieces = sorted(theirs.get_vocab(), key=theirs.get_vocab().__getitem__)
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).write_bytes((minilm / name).read_bytes())
    built = tokenizers.Tokenizer.from_buffer(tokenizer_files.read(Layout(str(tmp_path), (tmp_path,), {})))
    theirs.no_padding()
    theirs.no_truncation()
    for text in ("And so, my FELLOW Americans!", "naïve 你好 [MASK] x", ""):
        for pair in (None, "ask not"):
            a, b = built.encode(text, pair), theirs.encode(text, pair)
            assert (a.ids, a.type_ids) == (b.ids, b.type_ids)
    assert json.loads(built.to_str()) == json.loads(theirs.to_str())


def test_word_pieces_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("<s>\n</s>\n[UNK]\nAsk\nask\n##ed\n")
    settings = {"tokenizer_class": "MPNetTokenizerFast", "do_lower_case": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    layout = Layout(str(tmp_path), (tmp_path,), {})
    tokenizer = tokenizers.Tokenizer.from_buffer(tokenizer_files.read(layout))
    assert tokenizer.encode("Asked ask").ids == [0, 3, 5, 4, 1]
    assert tokenizer.encode("ask", "Ask").ids == [0, 4, 1, 1, 3, 1]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "DebertaV2Tokenizer"}))
    with pytest.raises(BadModel, match=r"DebertaV2Tokenizer.*save_pretrained"):
        tokenizer_files.read(layout)
