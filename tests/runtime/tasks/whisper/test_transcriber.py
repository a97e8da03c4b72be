"""What is made of a recording: windows, prompts, segments. The model is a script of tokens.

The expected segments are those of OpenAI's whisper 20250625, run on the same scripts.
"""

from __future__ import annotations

import itertools
import zlib

import pytest
import whisper_script
from whisper_script import (
    DE,
    EN,
    END,
    ENGLISH,
    NO_TIMESTAMPS,
    PREVIOUS,
    SETTINGS,
    START,
    TRANSCRIBE,
    TRANSLATE,
    Said,
    Script,
    any_sound,
    at,
    sound,
    text,
)

from intaglio.runtime.errors import BadBundle
from intaglio.runtime.tasks import decode
from intaglio.runtime.tasks import tokenizer as runtime_tokenizer
from intaglio.runtime.tasks.whisper.transcriber import Transcriber
from intaglio.runtime.tasks.whisper.transcript import Segment


@pytest.fixture(scope="module")
def tokenizer() -> runtime_tokenizer.Tokenizer:
    return whisper_script.tokenizer()


def spoken(segments: list[Segment]) -> list[tuple[float, float, str]]:
    return [(round(s.start, 6), round(s.end, 6), s.text) for s in segments]


UNTIMED = any_sound(without_timestamps=True)


# one window


def test_a_short_recording_is_one_segment(tokenizer):
    script = Script([Said(text(" ask not"), average=-0.25, no_speech=0.125)])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(0.7), any_sound("en", without_timestamps=True))
    assert (heard.text, heard.language, heard.language_probability) == ("ask not", "en", 1)
    assert heard.tokens == text(" ask not") and heard.duration == 0.7 and heard.notes == []
    (segment,) = heard.segments
    assert (segment.start, segment.end, segment.text, segment.tokens) == (0.0, 0.7, "ask not", text(" ask not"))
    assert (segment.id, segment.seek, segment.temperature) == (0, 0, 0)
    assert (segment.avg_logprob, segment.no_speech_prob) == (-0.25, 0.125)
    assert segment.compression_ratio == pytest.approx(7 / len(zlib.compress(b"ask not")))
    assert script.prompts == [[START, EN, TRANSCRIBE, NO_TIMESTAMPS]]


def test_steps_run_several_in_a_submit_and_what_follows_the_end_is_dropped(tokenizer, monkeypatch):
    clock = itertools.chain([0.0, 0.0, 0.1, 0.1], itertools.count(0.101, 0.001))  # a readback takes a tenth of a second
    monkeypatch.setattr(decode.time, "perf_counter", clock.__next__)
    script = Script([text("abcd")])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(0.9), any_sound("en", without_timestamps=True))
    assert heard.tokens == text("abcd")
    rules = {"begin": 4, "timed": 0, "seed": 0}
    assert script.calls == [
        ("mel", {"opening": 1, "padding": 10}, None),
        ("encode", {}, None),
        ("prefill", {**rules, "begin": 1, "past": 0, "new_tokens": 1}, ("tokens", 1, 1)),
        ("prefill", {**rules, "past": 1, "new_tokens": 3}, ("tokens", 4, 1)),
        ("step", {**rules, "past": 4}, ("tokens", 5, 1)),
        ("step", {**rules, "past": 5}, ("tokens", 6, 1)),
        ("step", {**rules, "past": 6}, ("tokens", 7, 1)),
        ("step", {**rules, "past": 7}, {**rules, "past": 8}, ("tokens", 8, 2)),
        ("step", *({**rules, "past": past} for past in range(9, 13)), ("tokens", 10, 4)),
    ]


@pytest.mark.parametrize(
    "settings, options, prompt",
    [
        (SETTINGS, {"language": "de", "without_timestamps": True}, [START, DE, TRANSCRIBE, NO_TIMESTAMPS]),
        (SETTINGS, {"language": "de", "task": "translate"}, [START, DE, TRANSLATE]),
        (SETTINGS, {"language": "de"}, [START, DE, TRANSCRIBE]),
        (ENGLISH, {"without_timestamps": True}, [START, NO_TIMESTAMPS]),
        (ENGLISH, {"language": "en"}, [START]),
    ],
)
def test_prompts(tokenizer, settings, options, prompt):
    script = Script([[]])
    Transcriber(script, settings, tokenizer).transcribe(sound(1), any_sound(**options))
    assert script.prompts == [prompt]
    (symbols,) = script.symbols
    assert symbols["begin"] == len(prompt)
    assert symbols["timed"] == int(not options.get("without_timestamps", False))


@pytest.mark.parametrize("language, code", [(EN, "en"), (DE, "de")])
def test_the_language_is_found_out_once(tokenizer, language, code):
    script = Script([text("a"), text("b")], language)
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(1.5), UNTIMED)
    assert (heard.language, heard.language_probability) == (code, 0.75)
    assert [prompt[-4:] for prompt in script.prompts] == [[START, language, TRANSCRIBE, NO_TIMESTAMPS]] * 2
    assert [program for program, *_ in script.calls].count("detect") == 1
    assert [program for program, *_ in script.calls if program != "step"].count("encode") == 2


@pytest.mark.parametrize("length", [10, 64])
def test_stops_when_the_context_is_full(tokenizer, length):
    script = Script([text("a") * 100])
    heard = Transcriber(script, SETTINGS | {"max_length": length}, tokenizer).transcribe(
        sound(1), any_sound("en", temperature=0, without_timestamps=True, sample_len=100)
    )
    assert len(heard.tokens) == length - 4
    (note,) = heard.notes
    assert "aa'" in note and f"{length - 4} tokens" in note
    program, *runs, _ = script.calls[-1]
    assert (program, runs[-1]["past"]) == ("step", length - 2)


def test_silence_has_no_segments(tokenizer):
    for said in [], text("  "):
        heard = Transcriber(Script([said]), SETTINGS, tokenizer).transcribe(sound(1), any_sound(language="en"))
        assert (heard.text, heard.segments, heard.tokens) == ("", [], [])


def test_a_character_cut_by_the_end_is_dropped_from_the_text_alone(tokenizer):
    euro = text("5 €")
    heard = Transcriber(Script([euro[:-1]]), SETTINGS, tokenizer).transcribe(sound(1), any_sound(language="en"))
    assert (heard.text, heard.tokens) == ("5", euro[:-1])
    assert tokenizer.decode(euro) == "5 €"
    assert tokenizer.decode([START, *euro, END]) == "5 €"
    only = Transcriber(Script([euro[-2:]]), SETTINGS, tokenizer).transcribe(sound(1), any_sound(language="en"))
    assert (only.text, only.segments) == ("", [])


# several windows


def test_without_timestamps_whole_windows_follow(tokenizer):
    script = Script([text(" a"), [*text(" b"), at(0.4), at(0.4)], text(" c")])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(2.25), any_sound("en", without_timestamps=True))
    assert spoken(heard.segments) == [(0, 1, "a"), (1, 2, "b"), (2, 2.25, "c")]
    assert heard.text == "a b c" and heard.tokens == text(" a b c")


def test_long_recordings_advance_by_timestamps(tokenizer):
    first = [at(0), *text(" a"), at(0.4), at(0.5), *text(" b"), at(0.72), at(0.72), *text(" unfini")]
    second = [at(0.1), *text(" finished"), at(0.9)]  # from 0.72 on; one timestamp ends it
    third = [at(0.2), *text(" c"), at(0.3)]  # from 1.72 on, 0.68 s long
    script = Script([first, second, third])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(
        sound(2.4), any_sound(language="en", condition_on_previous_text=True)
    )
    assert script.prompts[0] == [START, EN, TRANSCRIBE]
    assert script.prompts[1] == [PREVIOUS, *first[:-8], START, EN, TRANSCRIBE]
    assert script.prompts[2] == [PREVIOUS, *first[:-8], *second, START, EN, TRANSCRIBE]
    assert spoken(heard.segments) == [(0, 0.4, "a"), (0.5, 0.72, "b"), (0.72, 1.62, "finished"), (1.72, 2.02, "c")]
    assert heard.text == "a b finished c" and heard.tokens == text(" a b finished c")


def test_a_window_that_fails_is_tried_again_and_not_continued(tokenizer):
    first, second = [at(0), *text(" b"), at(0.5)], [at(0), *text(" c"), at(0.2)]
    script = Script([Said([at(0), *text(" a"), at(0.5)], average=-2), Said(first, average=-1.5), Said(first), second])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(1.5), any_sound("en", temperature=(0, 0.4, 0.8)))
    assert script.temperatures == [0, 0.4, 0.8, 0]
    assert [(s.id, s.text, s.temperature, s.seek) for s in heard.segments] == [(0, "b", 0.8, 0), (1, "c", 0, 100)]
    assert script.prompts[-1] == [START, EN, TRANSCRIBE]
    assert [symbols["seed"] > 0 for symbols in script.symbols] == [False, True, True, False]


def test_silent_windows_have_no_text(tokenizer):
    """Not even if the model says one; but a likely text proves that there is speech."""
    you = [at(0), *text(" You"), at(0.5)]
    script = Script([Said(you, -1.5, 0.9), Said(you, -0.5, 0.9)])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(2), any_sound("en"))
    assert spoken(heard.segments) == [(1, 1.5, "You")] and script.temperatures == [0, 0]


def test_clips(tokenizer):
    """Windows end with the parts, and what is behind them counts as zeros."""
    script = Script([[at(0), *text(" a"), at(0.2)], [at(0.1), *text(" b"), at(0.3)]])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(
        sound(3), any_sound("en", clip_timestamps=[0.5, 0.9, 2.5])
    )
    assert spoken(heard.segments) == [(0.5, 0.7, "a"), (2.5, 2.8, "b")]
    encoded = [call for call, after in itertools.pairwise(script.calls) if after[0] == "encode"]
    assert [symbols for _, symbols, _ in encoded] == [{"opening": 0, "padding": 60}, {"opening": 0, "padding": 50}]


def test_texts_before_the_windows(tokenizer):
    windows = [[at(0), *text(" a"), at(0.5)]] * 2
    script = Script(windows)
    options = any_sound("en", initial_prompt="novel ", hotwords="Ann", condition_on_previous_text=True)
    Transcriber(script, SETTINGS, tokenizer).transcribe(sound(2), options)
    before = [PREVIOUS, *text(" Ann"), *text(" novel")]
    assert script.prompts == [[*before, START, EN, TRANSCRIBE], [*before, *windows[0], START, EN, TRANSCRIBE]]


def test_a_prefix_begins_the_first_window(tokenizer):
    script = Script([[at(0), *text(" a"), at(0.5)]] * 2)
    options = any_sound("en", prefix="So", condition_on_previous_text=False)
    Transcriber(script, SETTINGS, tokenizer).transcribe(sound(2), options)
    assert script.prompts == [[START, EN, TRANSCRIBE, *text(" So")], [START, EN, TRANSCRIBE]]


def test_times_do_not_pass_the_end(tokenizer):
    script = Script([[at(0), *text(" a"), at(0.9)]])
    heard = Transcriber(script, SETTINGS, tokenizer).transcribe(sound(0.5), any_sound("en"))
    assert spoken(heard.segments) == [(0, 0.5, "a")]


def test_progress_is_reported(tokenizer):
    told = []
    script = Script([[at(0), at(0.5), at(0.5)], [], []])
    Transcriber(script, SETTINGS, tokenizer).transcribe(
        sound(1.5), any_sound("en", temperature=0), progress=lambda *work: told.append(work)
    )
    assert told == [("transcribing", 50, 150), ("transcribing", 150, 150)]


# refusals


@pytest.mark.parametrize(
    "settings, options, message",
    [
        (SETTINGS, {"language": "xx"}, "'xx'; this model supports 2; `intaglio languages BUNDLE` lists them"),
        (SETTINGS, {"language": "germn"}, r"'germn'; did you mean German \(de\)\?"),
        (SETTINGS, {"language": "de-facto-german"}, "'de-facto-german'; "),
        (SETTINGS, {"task": "sing"}, "'sing'; expected transcribe or translate"),
        (ENGLISH, {"task": "sing"}, "'sing'; expected"),
        (ENGLISH, {"task": "translate"}, "English-only: it cannot translate"),
        (ENGLISH, {"language": "de"}, "English-only: it has no language 'de'"),
    ],
)
def test_what_the_model_does_not_know(tokenizer, settings, options, message):
    script = Script([])
    with pytest.raises(ValueError, match=message):
        Transcriber(script, settings, tokenizer).transcribe(sound(1), any_sound(**options))
    assert not script.calls


@pytest.mark.parametrize(
    "change",
    [
        {"end": None},
        {"end": "256"},
        {"start": -1},
        {"hop": 0},
        {"frames": True},
        {"frames_per_timestamp": 0},
        {"silence": 1.0},
        {"silence": "-10"},
        {"languages": []},
        {"languages": {"en": "0"}},
        {"names": {"en": ["English"]}},
        {"names": {"en": ["English"], "de": []}},
        {"names": ["en", "de"]},
        {"tasks": {}},
        {"max_length": 65},
    ],
)
def test_broken_settings(tokenizer, change):
    with pytest.raises(BadBundle, match=r"generation\.json"):
        Transcriber(Script([]), SETTINGS | change, tokenizer)


def test_missing_settings(tokenizer):
    with pytest.raises(BadBundle, match=r"generation\.json is broken: 'start'"):
        Transcriber(Script([]), {}, tokenizer)


def test_another_plan(tokenizer):
    script = Script([])
    script.plan.programs = {"main": None}
    with pytest.raises(BadBundle, match="not the plan of a Whisper"):
        Transcriber(script, SETTINGS, tokenizer)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1, 2]"])
def test_a_broken_tokenizer(content):
    with pytest.raises(BadBundle, match=r"tokenizer\.json is broken"):
        runtime_tokenizer.Tokenizer(content)
