"""The recordings that transcripts are measured on, each with its words; numpy derives them from a few stored ones.

A take is samples and their words. Takes are joined and spoiled as sound is, so that the words follow by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parent.parent
AUDIO = ROOT / "tests" / "fixtures" / "audio"
RATE = 16_000
WORDS = {
    "jfk": "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your "
    "country.",
    "0870": "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his power to do "
    "for them.",
    "0880": "He was not an ill-disposed young man,",
    "0890": "unless to be rather cold-hearted and rather selfish is to be ill-disposed.",
    "0920": "Had he married a more amiable woman, he might have been made still more respectable than he was.",
    "0930": "He might even have been made amiable himself.",
    "en": "The old lighthouse stood on the rocks above the harbor. Every evening the keeper climbed the stairs and "
    "lit the lamp, so that the fishing boats could find their way home.",
    "de": "Guten Morgen, meine Damen und Herren. Heute scheint die Sonne, und wir gehen zusammen in den Garten.",
    "fr": "Bonjour à tous. Ce matin, il fait très beau, et nous allons nous promener dans la ville avec nos amis.",
    "es": "Buenos días a todos. Hoy hace mucho calor, y vamos a comer en la casa de mi hermana.",
    "it": "Buongiorno a tutti. Oggi fa molto caldo, e andiamo a mangiare nella casa di mia sorella.",
    "nl": "Goedemorgen allemaal. Vandaag schijnt de zon en wij gaan samen naar het strand.",
}
LIBRIVOX = ("0870", "0880", "0890", "0920", "0930")
CHORDS = ((220.0, 261.6, 329.6), (174.6, 220.0, 261.6), (196.0, 246.9, 293.7), (164.8, 207.7, 246.9))  # Hz


@dataclass(frozen=True)
class Take:
    """Sound at 16 kHz, f32[n] or f32[n, channels] within ±1; what is said in it, or ""; and in which language."""

    samples: np.ndarray
    words: str = ""
    language: str = "en"

    @property
    def mono(self) -> np.ndarray:
        return self.samples if self.samples.ndim == 1 else self.samples.mean(axis=1, dtype=np.float32)

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    @property
    def description(self) -> dict[str, float]:
        """Its length, and its root mean square in dB of full scale: what tells that a stored transcript is of it."""
        power = float(np.mean(self.mono.astype(np.float64) ** 2))
        return {"seconds": round(self.seconds, 4), "level": round(10 * np.log10(max(power, 1e-20)), 2)}


@cache
def speech(name: str) -> Take:
    """A stored recording: "jfk", the number of a sentence of LibriVox, or espeak-ng's "en", "en_fast", "de" ..."""
    if name == "jfk":
        path = ROOT / "examples" / "jfk.wav"
    else:
        (path,) = AUDIO.glob(f"*_{name}.*")
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE and samples.ndim == 1, path
    language = name.partition("_")[0]
    return Take(samples, WORDS[language], language if language in ("de", "fr", "es", "it", "nl") else "en")


# Sound without speech.


def silence(seconds: float) -> Take:
    return Take(np.zeros(round(seconds * RATE), np.float32))


def hiss(seconds: float, level: float, seed: int = 0) -> Take:
    """White noise; `level` is its root mean square in dB of full scale."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return Take((noise * 10 ** (level / 20)).astype(np.float32).clip(-1, 1))


def hum(seconds: float) -> Take:
    """A mains hum: 50 Hz and its harmonics."""
    time = np.arange(round(seconds * RATE)) / RATE
    tones = [np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 12)]
    return Take((0.05 * np.sum(tones, axis=0)).astype(np.float32))


def music(seconds: float) -> Take:
    """Four chords of plucked strings over a beat, two notes a second."""
    count, note = round(seconds * RATE), RATE // 2
    time = np.arange(note) / RATE
    noise = np.random.default_rng(1).standard_normal(note) * np.exp(-40 * time)
    bars = []
    for beat in range(-(-count // note)):
        chord = CHORDS[beat // 4 % len(CHORDS)]
        tones = [np.sin(2 * np.pi * tone * k * time) / k**1.5 for tone in chord for k in range(1, 7)]
        bars.append(0.08 * np.sum(tones, axis=0) * np.exp(-4 * time) + (0.08 * noise if beat % 2 else 0))
    return Take(np.concatenate(bars)[:count].astype(np.float32))


# What is made of takes.


def joined(*parts: Take, gap: float = 0) -> Take:
    """Takes one after the other, with `gap` seconds of silence between them."""
    pause = silence(gap).samples
    pieces = [piece for part in parts for piece in (pause, part.samples)][1:]
    return Take(np.concatenate(pieces), " ".join(part.words for part in parts if part.words), parts[0].language)


def lasting(seconds: float, *parts: Take) -> Take:
    """Takes that end exactly at `seconds`, with equal pauses before each of them."""
    count = round(seconds * RATE)
    spare = count - sum(len(part.samples) for part in parts)
    pauses = np.diff(np.linspace(0, spare, len(parts) + 1).round().astype(int))
    pieces = [Take(np.zeros(pause, np.float32)) for pause in pauses]
    return joined(*(take for pair in zip(pieces, parts, strict=True) for take in pair))


def louder(take: Take, decibels: float) -> Take:
    return replace(take, samples=(take.samples * 10 ** (decibels / 20)).astype(np.float32))


def clipped(take: Take, decibels: float) -> Take:
    return replace(take, samples=louder(take, decibels).samples.clip(-1, 1))


def faster(take: Take, factor: float) -> Take:
    """Played `factor` times as fast at the same pitch: windows of 40 ms overlap where they match best (WSOLA)."""
    size, search = 640, 160
    hop, window = size // 2, np.hanning(641)[:-1]
    sound = np.pad(take.samples, (search, size + 2 * search))
    out, place = np.zeros(int(len(take.samples) / factor) + 2 * size), search
    for start in range(0, len(out) - 2 * size, hop):
        out[start : start + size] += window * sound[place : place + size]
        target = search + int((start + hop) * factor)
        follows = sound[place + hop : place + hop + size]
        around = sound[target - search : target + search + size]
        place = target - search + int(np.argmax(np.correlate(around, follows, "valid")))
    return replace(take, samples=out[: int(len(take.samples) / factor)].astype(np.float32))


def over(take: Take, background: Take, ratio: float) -> Take:
    """A take over a background that is `ratio` dB weaker."""
    noise = np.resize(background.samples, len(take.samples))
    power = np.mean(take.samples**2) / np.mean(noise**2)
    return replace(take, samples=(take.samples + noise * np.sqrt(power / 10 ** (ratio / 10))).astype(np.float32))


def telephone(take: Take) -> Take:
    """The band from 300 to 3400 Hz."""
    spectrum = np.fft.rfft(take.samples)
    tone = np.fft.rfftfreq(len(take.samples), 1 / RATE)
    band = np.fft.irfft(spectrum * ((tone > 300) & (tone < 3400)), len(take.samples))
    return replace(take, samples=band.astype(np.float32))


def echoing(take: Take) -> Take:
    """In a hall: noise that dies away within half a second is what the hall answers to a click."""
    time = np.arange(RATE // 2) / RATE
    room = np.random.default_rng(2).standard_normal(len(time)) * np.exp(-10 * time) * 0.04
    room[0] = 1
    size = len(take.samples) + len(room)
    sound = np.fft.irfft(np.fft.rfft(take.samples, size) * np.fft.rfft(room, size), size)
    return replace(take, samples=sound[: len(take.samples)].astype(np.float32))


def left_only(take: Take) -> Take:
    return replace(take, samples=np.stack([take.samples, np.zeros_like(take.samples)], axis=1))


def offset(take: Take, by: float) -> Take:
    return replace(take, samples=take.samples + np.float32(by))


def _sentences() -> list[Take]:
    return [speech(name) for name in LIBRIVOX]


def _minute(seconds: float) -> Take:
    jfk, (a, b, c, d, e) = speech("jfk"), _sentences()
    return lasting(seconds, jfk, a, b, c, d, e, jfk, a, c)


def _half_minute(seconds: float) -> Take:
    jfk, (a, _, c, d, _) = speech("jfk"), _sentences()
    return lasting(seconds, jfk, a, c, d)


def ten_minutes() -> np.ndarray:
    """f32[9600000]: all that is said in English, again and again, with pauses of 0.4 seconds."""
    take = joined(speech("jfk"), *_sentences(), speech("en"), silence(0), gap=0.4)
    return np.resize(take.samples, 600 * RATE)


# Name -> how it is made. Names say what is in a recording, in order, with seconds or decibels.
RECORDINGS: dict[str, Callable[[], Take]] = {
    "jfk": lambda: speech("jfk"),
    **{f"librivox-{name}": lambda name=name: speech(name) for name in LIBRIVOX},
    "espeak": lambda: speech("en"),
    "espeak-fast": lambda: speech("en_fast"),
    "silence-5": lambda: silence(5),
    "silence-40": lambda: silence(40),
    "hiss-faint-8": lambda: hiss(8, -55),
    "hiss-35": lambda: hiss(35, -25),
    "hum-10": lambda: hum(10),
    "music-12": lambda: music(12),
    "music-40": lambda: music(40),
    "silence-4-speech": lambda: joined(silence(4), speech("0870")),
    "silence-31-speech": lambda: joined(silence(31), speech("jfk")),
    "speech-silence-20": lambda: joined(speech("0890"), silence(20)),
    "speech-silence-45": lambda: joined(speech("0870"), silence(45)),
    "pause-12": lambda: joined(speech("0880"), speech("jfk"), gap=12),
    "pause-35": lambda: joined(speech("0870"), speech("0890"), gap=35),
    "pauses-2": lambda: joined(*_sentences(), gap=2),
    "hiss-between": lambda: joined(speech("0870"), hiss(10, -45), speech("0890")),
    "faint-hiss-around": lambda: over(joined(silence(10), speech("jfk"), silence(15)), hiss(36, 0), 25),
    "without-pauses": lambda: joined(speech("jfk"), *_sentences()),
    "fast-1.5": lambda: faster(joined(speech("0870"), speech("0890"), gap=0.3), 1.5),
    "fast-2": lambda: faster(speech("jfk"), 2),
    "slow-0.8": lambda: faster(speech("0920"), 0.8),
    "quiet-then-loud": lambda: joined(louder(speech("0870"), -30), speech("jfk"), gap=1),
    "loud-then-quiet": lambda: joined(speech("jfk"), louder(speech("0870"), -30), gap=1),
    "very-quiet": lambda: louder(speech("jfk"), -50),
    "length-29.995": lambda: _half_minute(29.995),
    "length-30": lambda: _half_minute(30.0),
    "length-30.005": lambda: _half_minute(30.005),
    "length-59.99": lambda: _minute(59.99),
    "length-60": lambda: _minute(60.0),
    "repeated-sentence": lambda: joined(*[speech("0880")] * 6, gap=0.4),
    "repeated-jfk": lambda: joined(*[speech("jfk")] * 3, gap=0.5),
    "noise-20": lambda: over(joined(speech("jfk"), speech("0870"), gap=1), hiss(21, 0), 20),
    "noise-10": lambda: over(joined(speech("jfk"), speech("0870"), gap=1), hiss(21, 0), 10),
    "noise-5": lambda: over(speech("0920"), hiss(7, 0), 5),
    "over-music": lambda: over(speech("jfk"), music(12), 12),
    "music-8-speech": lambda: joined(music(8), speech("0870"), gap=0.5),
    "speech-music-15": lambda: joined(speech("0890"), music(15), gap=0.5),
    "clipped": lambda: clipped(speech("jfk"), 18),
    "offset": lambda: offset(speech("0870"), 0.2),
    "left-only": lambda: left_only(speech("0890")),
    "telephone": lambda: telephone(joined(speech("0870"), speech("0920"), gap=1)),
    "hall": lambda: echoing(joined(speech("jfk"), speech("0930"), gap=1)),
}
# Of other languages, for multilingual models.
FOREIGN: dict[str, Callable[[], Take]] = {
    f"espeak-{language}": lambda language=language: speech(language) for language in ("de", "fr", "es", "it", "nl")
}
