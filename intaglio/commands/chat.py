"""A conversation on the command line: each line is a message, and its answer is printed as it is generated.

Every message is sent with all earlier ones. This costs little, because they are still in the model's cache.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import intaglio
from intaglio.commands.progress import ProgressLine

if TYPE_CHECKING:
    from intaglio.runtime.tasks.generate import Completion, Piece
    from intaglio.runtime.tasks.stream import Stream


class Conversation:
    """`system`: the system message, if any. `options`: as for Bundle.generate."""

    def __init__(
        self, bundle: intaglio.Bundle, system: str | None, options: dict[str, Any], progress: ProgressLine
    ) -> None:
        self._bundle, self._options, self._progress = bundle, options, progress
        self._first = [] if system is None else [{"role": "system", "content": system}]
        self.messages: list[dict[str, str]] = []

    def hold(self, as_json: bool) -> None:
        """Answer each line of standard input until it ends. Ctrl-C stops an answer, not the conversation."""
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        for number, line in enumerate(_typed() if terminal else map(str.strip, sys.stdin), 1):
            if not line:
                continue
            try:
                _check_text(line, number)
                result = self.answer(line, show=not as_json)
                print(json.dumps(asdict(result), ensure_ascii=False) if as_json else "", flush=True)
                if result.finish_reason == "context":
                    self._note("the context is full")
            except KeyboardInterrupt:
                if as_json:
                    raise
                print(flush=True)
            except ValueError as error:
                if not terminal:
                    raise
                self._note(str(error))

    def answer(self, text: str, show: bool = True) -> Completion:
        """Send `text`, and print the answer.

        An interrupted answer is kept as far as it came. If nothing came, the message is dropped too.
        """
        self.messages.append({"role": "user", "content": text})
        answer = ""
        try:
            stream = self._stream()
            for piece in stream:
                self._progress.clear()
                answer += piece.text
                if show:
                    print(piece.text, end="", flush=True)
            self._progress.clear()
        except BaseException:
            if answer:
                self.messages.append({"role": "assistant", "content": answer})
            else:
                self.messages.pop()
            raise
        self.messages.append({"role": "assistant", "content": answer})
        return stream.finish()

    def _stream(self) -> Stream[Piece, Completion]:
        """The answer to the last message. If the conversation is too long, its oldest messages are dropped."""
        while True:
            try:
                return self._bundle.chat([*self._first, *self.messages], stream=True, **self._options)
            except intaglio.PromptTooLong:
                if len(self.messages) < 3:
                    raise
                del self.messages[:2]
                self._note("the context is full: the oldest message and its answer were dropped")

    def _note(self, text: str) -> None:
        self._progress.clear()
        print(f"intaglio: {' '.join(text.split())}", file=sys.stderr)


def _check_text(line: str, number: int) -> None:
    """Raise ValueError for a line whose bytes were not UTF-8."""
    try:
        line.encode()
    except UnicodeEncodeError:
        raise ValueError(f"line {number} of the input is not UTF-8; convert it with iconv -t utf-8") from None


def _typed() -> Iterator[str]:
    """The lines that a person types. Ctrl-C clears the line, Ctrl-D ends."""
    with suppress(ImportError):  # not on every platform
        import readline  # noqa: F401 (makes input() editable)
    while True:
        try:
            yield input("> ").strip()
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return
