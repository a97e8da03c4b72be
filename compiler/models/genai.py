"""Read genai_config.json, which ONNX Runtime GenAI's model builder writes, as configurations of transformers.

The file names the .onnx files. It does not have the sizes of a Whisper, which come from the encoder's inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models.json_file import read_json
from intaglio.compiler.models.layout import Layout
from intaglio.compiler.reader import load

NAME = "genai_config.json"
_PARTS = ("encoder", "decoder", "embedding")
_SEARCH = ("temperature", "top_k", "top_p", "repetition_penalty")


@dataclass(frozen=True)
class Builder:
    """The files and settings of a folder of the builder. Only Whisper has an `encoder`, and only decoders that were
    written without their embedding have an `embedding`. `config` and `generation` have the keys of transformers.
    `sizes` has the sizes of named cache dimensions."""

    decoder: Path
    encoder: Path | None
    embedding: Path | None
    config: dict[str, Any]
    generation: dict[str, Any]
    sizes: dict[str, int]


def files(layout: Layout) -> dict[str, Path]:
    """Return the .onnx files by part, which may still be missing, or {} if the builder did not write the folder."""
    path = layout.find(NAME)
    model = read_json(path).get("model") if path else None
    parts = {part: model.get(part) for part in _PARTS} if isinstance(model, dict) else {}
    names = {part: section.get("filename") for part, section in parts.items() if isinstance(section, dict)}
    return {part: path.parent / name for part, name in names.items() if path and isinstance(name, str)}


def read(layout: Layout) -> Builder | None:
    """Read a folder of the builder; return None if the builder did not write it. Raises BadModel."""
    path = layout.find(NAME)
    if path is None or not (settings := read_json(path)):
        return None
    folder = path.parent
    model, search = _section(folder, settings, "model"), settings.get("search")
    tokens = {k: model[k] for k in ("bos_token_id", "eos_token_id") if k in model}
    generation = tokens | {k: search[k] for k in _SEARCH if k in search} if _samples(search) else tokens
    names = {"type": "model_type", "context_length": "max_position_embeddings", "vocab_size": "vocab_size"}
    config = {theirs: model.get(name) for name, theirs in names.items()} | tokens
    encoder = _file(folder, model, "encoder") if "encoder" in model or model.get("type") == "whisper" else None
    if encoder is not None:
        bands, frames = _spectrogram(encoder)
        sizes = {"num_mel_bins": bands, "max_source_positions": frames // 2}
        config |= sizes | {"max_target_positions": model.get("context_length")}
    embedding = _file(folder, model, "embedding") if "embedding" in model else None
    return Builder(_file(folder, model, "decoder"), encoder, embedding, config, generation, _sizes(model["decoder"]))


def _sizes(decoder: dict[str, Any]) -> dict[str, int]:
    """Return the sizes of named cache dimensions, including those of a cache for a sliding window."""
    window = decoder.get("sliding_window")
    rows = window.get("window_size") if isinstance(window, dict) else None
    sizes = {"kv_cache_dim": decoder.get("head_size"), "past_sliding_length": rows}
    return {name: size for name, size in sizes.items() if isinstance(size, int) and size > 0}


def _section(folder: Path, settings: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(settings.get(name), dict):
        raise BadModel(f"{folder / NAME} lacks the section {name}; write the model again with the GenAI builder")
    return settings[name]


def _samples(search: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(search, dict) and bool(search.get("do_sample"))


def _file(folder: Path, model: dict[str, Any], part: str) -> Path:
    name = _section(folder, model, part).get("filename")
    if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
        raise BadModel(f"{folder / NAME} names the file {name!r} as its {part}; copy it into the folder")
    return folder / name


def _spectrogram(encoder: Path) -> tuple[int, int]:
    """Return the numbers of bands and frames that the encoder takes."""
    sizes = [d.dim_value for i in load.read(encoder).graph.input for d in i.type.tensor_type.shape.dim]
    if len(sizes) != 3 or min(sizes[1:]) < 1:
        raise BadModel(f"{encoder} has no input [batch, mels, frames] with fixed sizes; export it again")
    return sizes[1], sizes[2]
