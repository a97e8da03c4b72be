"""A conversation on the command line: a line is a message, and its answer is written as it comes.

Every message is sent with all before it, which costs little: what was said stays in the model's cache.
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
    from intaglio.runtime.tasks.generate import Completion, Stream


class Conversation:
    """`system`: what the model is told first. `options`: those of generate."""

    def __init__(
        self, bundle: intaglio.Bundle, system: str | None, options: dict[str, Any], progress: ProgressLine
    ) -> None:
        self._bundle, self._options, self._progress = bundle, options, progress
        self._first = [] if system is None else [{"role": "system", "content": system}]
        self.messages: list[dict[str, str]] = []

    def hold(self, as_json: bool) -> None:
        """Answer the lines of standard input until it ends. Ctrl-C ends an answer, and the conversation goes on."""
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        for line in _typed() if terminal else map(str.strip, sys.stdin):
            if not line:
                continue
            try:
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
        """Say `text`, and write the answer.

        An answer that is interrupted counts as far as it came. Where nothing came, nothing was said.
        """
        self.messages.append({"role": "user", "content": text})
        said = ""
        try:
            stream = self._stream()
            for piece in stream:
                self._progress.clear()
                said += piece.text
                if show:
                    print(piece.text, end="", flush=True)
            self._progress.clear()
        except BaseException:
            if said:
                self.messages.append({"role": "assistant", "content": said})
            else:
                self.messages.pop()
            raise
        self.messages.append({"role": "assistant", "content": said})
        return stream.result

    def _stream(self) -> Stream:
        """The answer to the last message, for which the oldest ones are forgotten where they do not fit."""
        while True:
            try:
                return self._bundle.chat([*self._first, *self.messages], stream=True, **self._options)
            except intaglio.PromptTooLong:
                if len(self.messages) < 3:
                    raise
                del self.messages[:2]
                self._note("the context is full: the oldest message and its answer are forgotten")

    def _note(self, text: str) -> None:
        self._progress.clear()
        print(f"intaglio: {' '.join(text.split())}", file=sys.stderr)


def _typed() -> Iterator[str]:
    """The lines that a person types. Ctrl-C empties the line, Ctrl-D ends."""
    with suppress(ImportError):  # not everywhere
        import readline  # noqa: F401 (makes input() editable)
    while True:
        try:
            yield input("> ").strip()
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return
