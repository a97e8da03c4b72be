"""Word errors on all recordings, beside openai-whisper and faster-whisper: `python -m benchmarks.word_errors BUNDLE`.

Their transcripts are stored, so only the bundle runs. A word is wrong if it is missing, another, or was never said.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import intaglio
from benchmarks.recordings import FOREIGN, RATE, RECORDINGS, ROOT, Take

TRANSCRIPTS = ROOT / "tests" / "fixtures" / "transcripts"
OPENAI, FASTER = "openai", "faster-whisper-vad"  # whose errors ours are held against
SPELLINGS = {"mr": ["mister"], "coldhearted": ["cold", "hearted"]}  # heard right, and written in another way

# setting -> "language", "text" and "segments", as make_transcripts.py wrote them
Heard = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """A recording, word errors by who made them, and how ours compares with the stored transcript of one setting.

    same: it is the same text. apart: the largest difference of a segment's time in seconds, None for other segments.
    random: the stored transcript was sampled, so that another text may be as right.
    """

    name: str
    words: int
    errors: dict[str, int]
    text: str
    same: bool
    apart: float | None
    random: bool

    @property
    def worse(self) -> bool:
        return self.errors["ours"] > min(self.errors[OPENAI], self.errors[FASTER])


def stored(model: str) -> dict[str, Heard]:
    """Recording -> what the other engines hear in it with "tiny.en" or "base"."""
    return json.loads((TRANSCRIPTS / f"{model}.json").read_text())["recordings"]


def words(text: str) -> list[str]:
    """What is heard of a text: lower case, without punctuation; compounds in parts."""
    plain = re.sub(r"[^\w\s']|_", " ", text.lower().replace("’", "'"))
    return [part for word in plain.split() for part in SPELLINGS.get(word, [word])]


def errors(said: str, heard: str) -> int:
    """The least number of words to insert, delete and replace (Levenshtein's distance of the words)."""
    a, b = words(said), words(heard)
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


def apart(ours: Sequence[Any], theirs: Sequence[Mapping[str, Any]], end: float) -> float | None:
    """The largest difference of a start or an end in seconds; None if the segments differ in number.

    The other engines' times may lie behind the `end` of a recording, ours may not.
    """
    if len(ours) != len(theirs):
        return None
    pairs = zip(ours, theirs, strict=True)
    return max((abs(getattr(a, at) - min(b[at], end)) for a, b in pairs for at in ("start", "end")), default=0.0)


def row(name: str, take: Take, transcript: Any, heard: Heard, setting: str = OPENAI) -> Row:
    """`transcript`: what a bundle hears in `take`. `setting`: whose text and times it is compared with."""
    theirs = heard[setting]
    counts = {"ours": errors(take.words, transcript.text)}
    counts |= {of: errors(take.words, heard[of]["text"]) for of in (OPENAI, FASTER)}
    return Row(
        name,
        len(words(take.words)),
        counts,
        transcript.text,
        transcript.text.strip() == theirs["text"].strip(),
        apart(transcript.segments, theirs["segments"], take.seconds),
        any(segment["temperature"] for segment in theirs["segments"]),
    )


def table(rows: Sequence[Row]) -> str:
    """In Markdown, a line for each recording and one for all."""
    lines = ["| recording | words | ours | openai | faster | text | times |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        ours = f"**{r.errors['ours']}**" if r.worse else r.errors["ours"]
        same = "same" if r.same else "sampled" if r.random else "other"
        times = "" if r.apart is None else f"{r.apart:.2f}"
        lines.append(f"| {r.name} | {r.words} | {ours} | {r.errors[OPENAI]} | {r.errors[FASTER]} | {same} | {times} |")
    total = {of: sum(r.errors[of] for r in rows) for of in ("ours", OPENAI, FASTER)}
    same = sum(r.same for r in rows)
    lines.append(f"| all | {sum(r.words for r in rows)} | {' | '.join(map(str, total.values()))} | {same} same | |")
    return "\n".join(lines)


def main() -> int:
    options = _options()
    heard, takes = stored(options.model), RECORDINGS | FOREIGN
    bundle, rows = intaglio.load(options.bundle), []
    for name in options.recording or heard:
        take = takes[name]()
        transcript = bundle.transcribe(take.samples, RATE, **dict(options.option))
        rows.append(row(name, take, transcript, heard[name], options.beside))
        if options.texts:
            print(f"{name}: {transcript.text}", file=sys.stderr, flush=True)
    print(table(rows))
    return int(any(r.worse for r in rows))


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.word_errors", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a Whisper")
    parser.add_argument("--model", choices=[path.stem for path in TRANSCRIPTS.glob("*.json")], default="tiny.en")
    parser.add_argument("--recording", metavar="NAME", nargs="+", choices=[*RECORDINGS, *FOREIGN], default=[])
    parser.add_argument(
        "--option", metavar="NAME=VALUE", type=_option, action="append", default=[], help="of transcribe()"
    )
    parser.add_argument("--beside", metavar="SETTING", default=OPENAI, help="of make_transcripts.py (default: openai)")
    parser.add_argument("--texts", action="store_true", help="print what is heard, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
