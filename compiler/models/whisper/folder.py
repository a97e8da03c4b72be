"""Read the folder of a Whisper export: files, sizes, special tokens by role, suppression lists and limits."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import genai, tokenizer_files
from intaglio.compiler.models.layout import DECODER, ENCODER, MODEL, Layout
from intaglio.compiler.models.whisper import mel
from intaglio.compiler.models.whisper.languages import names
from intaglio.compiler.reader import load
from intaglio.runtime.contract import WHISPER_SAMPLING

MULTILINGUAL = 50_363  # the id of <|notimestamps|> in the vocabulary with languages; 50,362 in the one without
FRAMES_PER_POSITION = 2  # the encoder halves the frames of the spectrogram, and timestamps count its positions


@dataclass(frozen=True)
class Folder:
    """An exported Whisper with `mels` bands, `positions` of two frames in the encoder, and `context` tokens."""

    encoder: Path
    decoder: Path
    mels: int
    positions: int
    context: int
    settings: dict[str, Any]
    tokenizer: bytes
    notes: list[str]
    vocabulary: int | None  # the width of the logits
    alignment_heads: list[list[int]] | None  # pairs of layer and head, if the export names them


def matches(layout: Layout) -> bool:
    """Return whether the configuration is of a Whisper or, for a folder, whether it has the file of an encoder."""
    config = layout.json("config.json")
    if not config and (built := genai.read(layout)) is not None:
        config = built.config
    if layout.named:
        return config.get("model_type") == "whisper" and layout.named[0].startswith(("encoder", "decoder"))
    return config.get("model_type") == "whisper" or layout.has(ENCODER)


def _refuse_foreign(layout: Layout) -> None:
    """Raise BadModel if the folder has the file of another kind of model beside the configuration of a Whisper."""
    if layout.has(MODEL) and not layout.has(ENCODER) and not layout.has(DECODER):
        file = layout.folders[0] / "model.onnx"
        with suppress(BadModel):  # several dtypes
            file = layout.file(MODEL).path
        raise BadModel(
            f"config.json is of a Whisper, but {file.name} beside it is neither encoder nor decoder; "
            f"copy the model's own config.json there, or name {file} to compile it alone"
        )


def read(layout: Layout) -> Folder:
    """Read the folder. Raises BadModel, which names the missing file or setting and its source."""
    built = genai.read(layout)
    config = layout.json("config.json") or (built.config if built else {})
    if not config:
        raise BadModel(f"{layout} has no config.json; {_advice(layout)}")
    if config.get("model_type") != "whisper":
        raise BadModel(
            f"{layout} has a model of type {config.get('model_type')!r}; expected whisper; "
            "name one of its .onnx files to compile that alone"
        )
    if not (built and built.encoder):
        _refuse_foreign(layout)
    encoder, decoder = (built.encoder, built.decoder) if built and built.encoder else _files(layout)
    try:
        keys = ("num_mel_bins", "max_source_positions", "max_target_positions")
        mels, positions, context = sizes = [int(config[k]) for k in keys]
    except (KeyError, TypeError, ValueError) as e:
        raise BadModel(f"the config.json of {layout} lacks {e}; export the model again") from e
    if min(sizes) < 1:
        raise BadModel(f"the config.json of {layout}: expected positive sizes, got {sizes}; export the model again")
    tokenizer = tokenizer_files.read(layout)
    if tokenizer is None:
        raise BadModel(
            f"{layout} has no tokenizer.json; save the model's tokenizer there: save_pretrained({str(layout)!r})"
        )
    named = "generation_config.json" if layout.find("generation_config.json") else "config.json"
    generation = layout.json("generation_config.json") or config
    try:
        settings = _settings(generation, tokenizer, context)
    except BadModel:
        raise
    except (TypeError, ValueError, AttributeError, IndexError) as e:
        raise BadModel(f"the generation settings in {layout} are broken: {e}") from e
    settings |= {"rate": mel.RATE, "hop": mel.HOP, "context": mel.N_FFT, "frames": FRAMES_PER_POSITION * positions}
    settings |= {"silence": mel.SILENCE, "frames_per_timestamp": FRAMES_PER_POSITION}
    notes = _notes(layout, settings, generation, named)
    vocabulary, heads = config.get("vocab_size"), generation.get("alignment_heads")
    return Folder(encoder, decoder, mels, positions, context, settings, tokenizer, notes, vocabulary, heads)


def _files(layout: Layout) -> tuple[Path, Path]:
    """Return the files of the encoder and the decoder."""
    decoder, encoder = layout.file(DECODER), layout.file(ENCODER)
    return encoder.path, decoder.path


def _settings(config: dict[str, Any], tokenizer: bytes, context: int) -> dict[str, Any]:
    """Return the content of generation.json: special tokens by role, suppression lists and limits.

    Every Whisper has <|startofprev|>, <|nospeech|>, <|notimestamps|> and <|0.00|> one after the other. They are counted
    from the third, as transformers does, because the tokenizer may be of a size with other tokens: large-v3 has one
    language more.
    """
    try:
        added = {t["content"]: int(t["id"]) for t in json.loads(tokenizer)["added_tokens"]}
    except (ValueError, KeyError, TypeError) as e:
        raise BadModel(f"tokenizer.json is broken: {e}; save the model's tokenizer again") from e

    def token(key: str, content: str) -> int:
        found = added.get(content) if config.get(key) is None else config[key]
        if found is None:
            raise BadModel(
                f"generation_config.json lacks {key}, and tokenizer.json lacks {content}; export the model again"
            )
        return int(found[0] if isinstance(found, list) else found)

    languages = config.get("lang_to_id") or {t: i for t, i in added.items() if re.fullmatch(r"<\|[a-z]{2,3}\|>", t)}
    tasks = config.get("task_to_id") or {
        t: added[f"<|{t}|>"] for t in ("transcribe", "translate") if f"<|{t}|>" in added
    }
    no_timestamps = token("no_timestamps_token_id", "<|notimestamps|>")
    multilingual = bool(config.get("is_multilingual", no_timestamps >= MULTILINGUAL))
    settings = {
        "start": token("decoder_start_token_id", "<|startoftranscript|>"),
        "end": token("eos_token_id", "<|endoftext|>"),
        "no_timestamps": no_timestamps,
        "first_timestamp": no_timestamps + 1,
        "multilingual": multilingual,
        "languages": {t.strip("<|>"): int(i) for t, i in sorted(languages.items())},
        "names": names(sorted(t.strip("<|>") for t in languages) if multilingual else ["en"]),
        "tasks": {t: int(i) for t, i in sorted(tasks.items())},
        "no_speech": no_timestamps - 1,
        "previous": no_timestamps - 2,
        "suppress": sorted(int(i) for i in config.get("suppress_tokens") or [] if i >= 0),
        "suppress_first": sorted(int(i) for i in config.get("begin_suppress_tokens") or [] if i >= 0),
        "sampling_order": [*WHISPER_SAMPLING],
        "max_length": min(int(config.get("max_length") or context), context),
    }
    return settings | _defaults(config, settings)


def _defaults(config: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the default language and task: those that the export sets, else None (detect) and transcribe."""
    forced = {pair[1] for pair in config.get("forced_decoder_ids") or [] if settings["multilingual"]}
    language = next((code for code, i in settings["languages"].items() if i in forced), None)
    task = next((name for name, i in settings["tasks"].items() if i in forced), "transcribe")
    if settings["multilingual"] and config.get("language"):
        named = str(config["language"]).strip("<|>").lower()
        language = next(
            (code for code, of in settings["names"].items() if named in (code, *map(str.lower, of))), language
        )
    if settings["multilingual"] and config.get("task") in settings["tasks"]:
        task = config["task"]
    return {"language": language, "task": task}


def _notes(layout: Layout, settings: dict[str, Any], generation: dict[str, Any], named: str) -> list[str]:
    """Return messages for the user about the settings in the file `named`."""
    notes = []
    if generation.get("suppress_tokens") is None:
        why = "lacks suppress_tokens" if layout.find("generation_config.json") else "has no generation_config.json"
        notes.append(f"no tokens are suppressed because {layout} {why}; copy it from the original model")
    if settings["language"]:
        notes.append(f"{named} sets the language {settings['language']}; run with --language auto to detect it")
    if settings["task"] != "transcribe":
        notes.append(f"{named} sets the task {settings['task']}; run with --task transcribe for the spoken language")
    if int(generation.get("num_beams") or 1) > 1:
        notes.append(f"{named} asks for {generation['num_beams']} beams; decoding is greedy, with one")
    return notes


def _advice(layout: Layout) -> str:
    """Return advice for a folder without a configuration, by the inputs of the encoder."""
    inputs = [i.name for i in load.read(layout.file(ENCODER).path).graph.input]
    if "input_features" in inputs:
        return "the encoder takes input_features, as Whisper's do: copy config.json and generation_config.json there"
    return f"the encoder takes {', '.join(inputs)[:80]}: name one of the .onnx files to compile that alone"
