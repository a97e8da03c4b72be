"""The endpoints of Whisper: transcriptions and translations, in every format, whole and streamed."""

from __future__ import annotations

import io
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from intaglio.runtime.tasks.whisper.formats import srt, vtt
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript
from intaglio.serve import streams
from intaglio.serve.errors import ApiError
from intaglio.serve.fields import within
from intaglio.serve.models import Model
from intaglio.serve.scheduler import Work
from intaglio.session import BundleSession

FORMATS = "json", "text", "srt", "vtt", "verbose_json"
_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt", "text": "text/plain"}
_REFUSED = "known_speaker_names", "known_speaker_references", "include", "languages"


@dataclass(frozen=True)
class _Fields:
    """The fields of a request. options: those of a transcription."""

    file: BinaryIO
    model: str | None
    format: str
    granularities: Sequence[str]
    stream: bool
    options: dict[str, Any]


def _all(form: FormData, name: str) -> list[str]:
    """The values of a field, with and without brackets behind its name."""
    return [str(value) for key in (name, f"{name}[]") for value in form.getlist(key)]


def _fields(form: FormData, task: str) -> _Fields:
    """Raises ApiError for what is missing, out of its range or not supported."""
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise ApiError(400, "file: expected a recording as a file part", "file", "missing_required_parameter")
    format = str(form.get("response_format") or "json")
    if format not in FORMATS:
        raise ApiError(400, f"response_format: expected {', '.join(FORMATS)}, got {format[:40]!r}", "response_format")
    granularities = _all(form, "timestamp_granularities")
    if granularities and format != "verbose_json":
        raise ApiError(400, "timestamp_granularities needs response_format verbose_json", "timestamp_granularities")
    for granularity in granularities:
        if granularity not in ("word", "segment"):
            message = f"timestamp_granularities: expected word or segment, got {granularity[:40]!r}"
            raise ApiError(400, message, "timestamp_granularities")
    stream = str(form.get("stream") or "false").lower() in ("true", "1")
    if stream and format not in ("json", "text"):
        raise ApiError(400, "stream needs response_format json or text", "stream")
    options = _options(form, task) | ({"word_timestamps": True} if "word" in granularities else {})
    return _Fields(file.file, _text(form, "model"), format, granularities, stream, options)


def _options(form: FormData, task: str) -> dict[str, Any]:
    for name in _REFUSED:
        if _all(form, name):
            raise ApiError(400, f"{name} is not supported by this server; leave it out", name, "unsupported")
    chunking = _text(form, "chunking_strategy")
    if chunking not in (None, "auto") or any(key.startswith("chunking_strategy[") for key in form):
        raise ApiError(400, "chunking_strategy: expected auto", "chunking_strategy", "unsupported")
    options: dict[str, Any] = {"task": task}
    temperature = _text(form, "temperature")
    if temperature is not None:
        try:
            options["temperature"] = float(temperature)
        except ValueError:
            message = f"temperature: expected a number from 0 to 1, got {temperature[:40]!r}"
            raise ApiError(400, message, "temperature") from None
        within("temperature", options["temperature"], 0, 1)
        if not options["temperature"]:
            del options["temperature"]  # with OpenAI, too, 0 means that higher ones are tried where the text is bad
    texts = {"language": _text(form, "language"), "initial_prompt": _text(form, "prompt")}
    if keywords := _all(form, "keywords"):
        texts["hotwords"] = " ".join(keywords)
    return options | {name: text for name, text in texts.items() if text}


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) and value else None


async def transcriptions(request: Request) -> Response:
    return await _answer(request, "transcribe")


async def translations(request: Request) -> Response:
    return await _answer(request, "translate")


async def _answer(request: Request, task: str) -> Response:
    if "multipart/form-data" not in request.headers.get("content-type", ""):
        raise ApiError(415, "expected a body of multipart/form-data, with the recording as the part named file")
    async with request.form() as form:
        fields = _fields(form, task)
        model = request.app.state.models.of("whisper", fields.model)
        settings = Settings.parse(model.bundle.contents.generation)
        settings.choices(fields.options.get("language"), task)
        if fields.stream:
            fields = await _kept(fields)
            return await streams.events(request, _deltas(model, fields, settings))
        transcript = await streams.attended(request, _whole(model, fields))
    return _formatted(transcript, fields, settings, task)


async def _kept(fields: _Fields) -> _Fields:
    """The fields with a copy of the file, which outlives the request's form."""
    return replace(fields, file=io.BytesIO(fields.file.read()))


def _work(fields: _Fields) -> Work[Segment | Transcript]:
    def work(session: BundleSession, look: Callable[[], bool], put: Callable[[Segment | Transcript], None]) -> None:
        stream = session.transcribe(fields.file, stream=True, cancel=look, **fields.options)
        for segment in stream:
            put(segment)
        put(stream.finish())

    return work


async def _whole(model: Model, fields: _Fields) -> Transcript:
    async for item in model.pool.run(_work(fields)):
        if isinstance(item, Transcript):
            return item
    raise LookupError("no transcript came")


async def _deltas(model: Model, fields: _Fields, settings: Settings) -> AsyncIterator[str]:
    """Yield an event for the text of each segment, and one for the whole text, which is all of them together."""
    tokenizer, text = model.bundle.tokenizer, ""
    assert tokenizer is not None  # a Whisper has one
    async for item in model.pool.run(_work(fields)):
        if isinstance(item, Segment):
            delta = tokenizer.decode([token for token in item.tokens if token < settings.end])
            delta = delta if text else delta.lstrip()
            text += delta
            yield streams.event({"type": "transcript.text.delta", "delta": delta})
        else:
            yield streams.event({"type": "transcript.text.done", "text": text, "usage": _usage(item)})
    yield streams.DONE


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}


def _formatted(transcript: Transcript, fields: _Fields, settings: Settings, task: str) -> Response:
    if fields.format == "json":
        return JSONResponse({"text": transcript.text, "usage": _usage(transcript)})
    if fields.format == "verbose_json":
        return JSONResponse(_verbose(transcript, fields, settings, task))
    text = {"srt": srt, "vtt": vtt}.get(fields.format, lambda t: t.text + "\n")(transcript)
    return PlainTextResponse(text, media_type=_TYPES[fields.format])


def _verbose(transcript: Transcript, fields: _Fields, settings: Settings, task: str) -> dict[str, Any]:
    names = settings.names.get(transcript.language or "", [transcript.language or "unknown"])
    numbers = "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"
    segments = [
        {"id": s.id, "seek": s.seek, "start": s.start, "end": s.end, "text": f" {s.text}", "tokens": s.tokens}
        | {name: getattr(s, name) for name in numbers}
        for s in transcript.segments
    ]
    words = [
        {"word": word.word.strip(), "start": word.start, "end": word.end}
        for segment in transcript.segments
        for word in segment.words or []
    ]
    timed: dict[str, Any] = {"words": words} if "word" in fields.granularities else {}
    if "segment" in fields.granularities or not timed:
        timed["segments"] = segments
    return {
        "task": task,
        "language": names[0].lower(),
        "duration": transcript.duration,
        "text": transcript.text,
        "usage": _usage(transcript),
    } | timed
