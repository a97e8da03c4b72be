"""Text from a bundle, in Python and on the command line. That the model's numbers are right is tested elsewhere."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import intaglio
from intaglio.commands.chat import Conversation
from intaglio.commands.progress import ProgressLine
from intaglio.runtime.tasks.generate import Piece

FIXTURES = Path(__file__).parents[1] / "fixtures"
LLAMA = FIXTURES / "llama-optimum-18"
PROMPT = "We are"
CONTEXT = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return intaglio.compile(LLAMA, tmp_path_factory.mktemp("llama") / "llama.bundle", max_length=CONTEXT).folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> intaglio.Bundle:
    return intaglio.load(folder)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> intaglio.Bundle:
    """The same without tokenizer and chat template."""
    source = tmp_path_factory.mktemp("bare") / "llama"
    shutil.copytree(LLAMA, source)
    for name in "tokenizer.json", "chat_template.jinja":
        (source / name).unlink()
    return intaglio.compile(source, source.parent / "llama.bundle")


@pytest.fixture
def runs(bundle: intaglio.Bundle, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """(program, first row, rows) of every submit."""
    seen: list[tuple[str, int, int]] = []
    replay = bundle.replays.replay

    def spy(program: str, runs: list[dict[str, int]], read: Any = None) -> Any:
        seen.append((program, runs[0]["past"], runs[0].get("new_tokens", len(runs))))
        return replay(program, runs, read)

    monkeypatch.setattr(bundle.replays, "replay", spy)
    return seen


def user(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


# Python


def test_generate_takes_text_and_tokens(bundle: intaglio.Bundle, bare: intaglio.Bundle) -> None:
    result = bundle.generate(PROMPT, max_tokens=12, ignore_eos=True)
    assert len(result.tokens) == 12 and result.finish_reason == "length" and result.text
    ids = bundle.tokenizer.encode(PROMPT)
    assert result.prompt_tokens == len(ids)
    assert bundle.generate(ids, max_tokens=12, ignore_eos=True) == result
    assert bundle.generate(np.array(ids), max_tokens=12, ignore_eos=True) == result
    without = bare.generate(ids, max_tokens=12, ignore_eos=True)
    assert (without.text, without.tokens) == ("", result.tokens)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "seed": 3, "top_p": 0.95, "repetition_penalty": 1.2}])
def test_several_steps_in_a_submit_change_nothing(bundle: intaglio.Bundle, options: dict[str, Any]) -> None:
    results = [
        bundle.generate(PROMPT, max_tokens=40, ignore_eos=True, steps_per_submit=steps, **options)
        for steps in (1, 2, 7, 16, None)
    ]
    assert all(result == results[0] for result in results)
    assert len(set(results[0].tokens)) > 3


def test_logits_are_those_that_greedy_tokens_follow(bundle: intaglio.Bundle) -> None:
    ids = bundle.tokenizer.encode(PROMPT)
    tokens = ids + bundle.generate(ids, max_tokens=10, ignore_eos=True).tokens
    logits = bundle.logits(tokens[:-1])
    assert logits.dtype == np.float32 and logits.shape == (len(tokens) - 1, 303)
    assert logits[len(ids) - 1 :].argmax(axis=1).tolist() == tokens[len(ids) :]


def test_streams(bundle: intaglio.Bundle) -> None:
    whole = bundle.generate(PROMPT, max_tokens=20, ignore_eos=True)
    stream = bundle.generate(PROMPT, max_tokens=20, ignore_eos=True, stream=True)
    pieces = list(stream)
    assert stream.result == whole and len(pieces) > 10
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [token for piece in pieces for token in piece.tokens] == whole.tokens


def test_a_stop_string(bundle: intaglio.Bundle) -> None:
    whole = bundle.generate(PROMPT, max_tokens=20, ignore_eos=True).text
    stop = whole[7:10]
    result = bundle.generate(PROMPT, max_tokens=20, ignore_eos=True, stop=["never said", stop])
    assert result.text == whole[: whole.index(stop)] and result.finish_reason == "stop"


def test_seeds(bundle: intaglio.Bundle) -> None:
    def draw(seed: int | None) -> list[int]:
        return bundle.generate(PROMPT, max_tokens=15, ignore_eos=True, temperature=2, seed=seed).tokens

    assert draw(5) == draw(5) != draw(6)
    assert draw(None) != draw(None)


def test_a_context_filled_to_the_brim(bundle: intaglio.Bundle) -> None:
    result = bundle.generate([5] * (CONTEXT - 3), ignore_eos=True)
    assert (len(result.tokens), result.finish_reason) == (4, "context")
    with pytest.raises(intaglio.PromptTooLong, match=f"{CONTEXT + 1} tokens, the context {CONTEXT}.*--max-length"):
        bundle.generate([5] * (CONTEXT + 1))


def test_logprobs(bundle: intaglio.Bundle) -> None:
    ids = bundle.tokenizer.encode(PROMPT)
    result = bundle.generate(PROMPT, max_tokens=5, ignore_eos=True, logprobs=3, temperature=3, seed=1)
    rows = bundle.logits(ids + result.tokens[:-1])[len(ids) - 1 :].astype(np.float64)
    expected = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    for i, lp in enumerate(result.logprobs):
        assert lp.token == result.tokens[i] and lp.logprob == pytest.approx(expected[i, lp.token], abs=1e-3)
        assert [top.token for top in lp.top] == np.argsort(-expected[i])[:3].tolist()


def test_chat_is_the_template_continued(bundle: intaglio.Bundle) -> None:
    messages = user("Hi", "Hello.", "Who are you?")
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages) + "<|im_start|>assistant\n"
    ids = bundle.tokenizer.encode(text, special=False)
    assert bundle.chat(messages, max_tokens=9) == bundle.generate(ids, max_tokens=9)
    stream = bundle.chat(messages, max_tokens=9, stream=True)
    assert stream.finish() == bundle.generate(ids, max_tokens=9)


def test_a_conversation_is_read_once(bundle: intaglio.Bundle, runs: list[tuple[str, int, int]]) -> None:
    """Of the second question, what came before is in the cache already."""
    first = bundle.chat(user("Hi"), max_tokens=9)
    runs.clear()
    second = bundle.chat(user("Hi", first.text, "And you?"), max_tokens=3)
    (start, read) = next((first_row, rows) for program, first_row, rows in runs if program == "prefill")
    assert start >= first.prompt_tokens and start + read == second.prompt_tokens


def test_runs_by_hand_are_not_part_of_a_text(folder: Path) -> None:
    """Golden checks and single programs write the cache too."""
    expected = intaglio.load(folder).generate([1, 2, 3, 4, 5], max_tokens=9, ignore_eos=True)
    bundle = intaglio.load(folder)
    bundle.generate([1, 2, 3, 4], max_tokens=1)
    assert all(result.passed for result in bundle.verify())
    assert bundle.generate([1, 2, 3, 4, 5], max_tokens=9, ignore_eos=True) == expected
    bundle.run({"tokens": np.full((1, CONTEXT + 1, 1), 9)}, "prefill", {"past": 0, "new_tokens": 5})
    assert bundle.generate([1, 2, 3, 4, 5], max_tokens=9, ignore_eos=True) == expected


def test_what_the_makers_recommend(bundle: intaglio.Bundle) -> None:
    assert bundle.sampling == {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1}


def test_what_python_refuses(bundle: intaglio.Bundle, bare: intaglio.Bundle) -> None:
    for call, message in [
        (lambda: bare.generate("text"), "has no tokenizer; .*token ids"),
        (lambda: bare.chat(user("Hi")), "has no chat template"),
        (lambda: bare.generate([1], stop="x"), "tokenizer"),
        (lambda: bundle.chat([]), "messages: expected a list"),
        (lambda: bundle.chat("Hi"), "messages: expected a list"),
        (lambda: bundle.chat([{"content": "Hi"}]), "messages.0.: expected"),
        (lambda: bundle.chat([{"role": "user", "content": "\udcff"}]), "not UTF-8 at character"),
        (lambda: bundle.generate("a\udcff"), "not UTF-8 at character 2"),
        (lambda: bundle.generate(b"Hi"), "expected a text or a list of token ids, got bytes"),
        (lambda: bundle.generate(5), "expected a text or a list of token ids, got int"),
        (lambda: bundle.generate(PROMPT, temperature=-1), "temperature: .*got -1"),
        (lambda: bundle.generate([303]), "303"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="warmth"):
        bundle.generate(PROMPT, warmth=1)


@pytest.mark.parametrize("call", ["generate", "chat", "logits"])
def test_other_bundles_say_nothing(call: str, tmp_path: Path) -> None:
    whisper = intaglio.compile(FIXTURES / "whisper-split-18", tmp_path / "whisper.bundle")
    with pytest.raises(ValueError, match=r"whisper\.bundle is not a language model"):
        getattr(whisper, call)([1])


# the command line


def test_a_locale_that_says_ascii(folder: Path, bundle: intaglio.Bundle) -> None:
    """Texts are UTF-8 on the command line, on standard input and on standard output."""
    expected = bundle.generate("Grüße", max_tokens=3)
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "intaglio", "run", str(folder), "--max-tokens", "3", "--json"]
    prompt = subprocess.run([*command, "--prompt", "Grüße".encode()], env=environment, capture_output=True, check=True)
    assert json.loads(prompt.stdout) == asdict(expected)
    answer = subprocess.run(
        [*command, "--chat"], input="Grüße\n".encode(), env=environment, capture_output=True, check=True
    )
    assert json.loads(answer.stdout) == asdict(bundle.chat(user("Grüße"), max_tokens=3))


@pytest.mark.parametrize(
    "arguments, line, status",
    [(["--prompt", b"a \xff b"], b"", 2), (["--chat"], b"a \xff b\n", 1), (["--chat", "--system", b"\xff"], b"", 2)],
)
def test_what_is_not_utf_8(folder: Path, arguments: list[Any], line: bytes, status: int) -> None:
    command = [sys.executable, "-m", "intaglio", "run", str(folder), *arguments]
    result = subprocess.run(command, input=line, capture_output=True)
    assert result.returncode == status and b"UTF-8" in result.stderr.splitlines()[-1] and not result.stdout
    assert b"Traceback" not in result.stderr


def test_run_a_prompt(cli: Callable[..., Any], folder: Path, bundle: intaglio.Bundle) -> None:
    expected = bundle.generate(PROMPT, max_tokens=12)
    arguments = ["run", folder, "--prompt", PROMPT, "--max-tokens", 12]
    assert cli(*arguments)[:2] == (0, expected.text + "\n")
    status, out, _ = cli(*arguments, "--json")
    assert status == 0 and json.loads(out) == asdict(expected)


def test_run_with_every_option(cli: Callable[..., Any], folder: Path, bundle: intaglio.Bundle) -> None:
    options = {"max_tokens": 9, "temperature": 2.0, "top_k": 50, "top_p": 0.9, "min_p": 0.01, "seed": 4}
    options |= {"repetition_penalty": 1.1, "logprobs": 2, "steps_per_submit": 3}
    expected = bundle.generate(PROMPT, **options, stop=["x", "y"], ignore_eos=True)
    given = [text for k, v in options.items() for text in (f"--{k.replace('_', '-')}", v)]
    given += ["--stop", "x", "--stop", "y", "--ignore-eos"]
    status, out, _ = cli("run", folder, "--prompt", PROMPT, "--json", *given)
    assert status == 0 and json.loads(out) == json.loads(json.dumps(asdict(expected)))


def test_run_as_recommended(cli: Callable[..., Any], folder: Path, bundle: intaglio.Bundle) -> None:
    """What is given goes before what is recommended."""
    recommended = bundle.sampling | {"temperature": 1.5}
    expected = bundle.generate(PROMPT, max_tokens=9, seed=1, **recommended)
    arguments = ["--recommended", "--temperature", 1.5, "--seed", 1, "--max-tokens", 9]
    assert cli("run", folder, "--prompt", PROMPT, *arguments)[1] == expected.text + "\n"


def test_talk(cli: Callable[..., Any], folder: Path, bundle: intaglio.Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of standard input is a message; the answers know what was said before."""
    told = [{"role": "system", "content": "Be brief."}]
    first = bundle.chat(told + user("Hi"), max_tokens=8)
    second = bundle.chat(told + user("Hi", first.text, "And you?"), max_tokens=8)
    arguments = ["run", folder, "--chat", "--max-tokens", 8, "--system", "Be brief."]
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\n\n  And you? \n"))
    assert cli(*arguments)[:2] == (0, f"{first.text}\n{second.text}\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\nAnd you?"))
    status, out, _ = cli(*arguments, "--json")
    assert status == 0 and [json.loads(line) for line in out.splitlines()] == [asdict(first), asdict(second)]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert cli(*arguments)[:2] == (0, "")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--prompt", "x", "--temperature", -1], "temperature: expected a number from 0, got -1"),
        (
            ["--prompt", "x" * 1000],
            "the prompt has 1000 tokens, the context 96; shorten it, or compile with --max-length",
        ),
        (["--audio", "a.wav"], "is not a Whisper"),
    ],
)
def test_run_refuses(cli: Callable[..., Any], folder: Path, arguments: list[Any], message: str) -> None:
    status, out, error = cli("run", folder, *arguments)
    assert (status, out) == (1, "")
    assert error.splitlines()[-1].startswith("intaglio: ") and message in error.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--prompt", "x", "--system", "y"], "--system works only with --chat"),
        (["--prompt", "x", "--language", "en"], "--language works only with --audio"),
        (["--audio", "x", "--max-tokens", "3"], "--max-tokens works only with --prompt or --chat"),
        (["--input", "x=y", "--recommended"], "--recommended works only with --prompt or --chat"),
        (["--chat", "--output", "x"], "--output works only with --input"),
        (["--chat", "--logprobs", "1"], "--logprobs works only with --json"),
        (["--chat", "--prompt", "x"], "not allowed with argument"),
        (["--prompt", "x", "--max-tokens", "many"], "invalid int value"),
    ],
)
def test_wrong_calls(cli: Callable[..., Any], arguments: list[str], message: str) -> None:
    status, out, error = cli("run", "a.bundle", *arguments)
    assert (status, out) == (2, "") and message in error.splitlines()[-1]


def test_compile_with_a_length(cli: Callable[..., Any], tmp_path: Path) -> None:
    assert cli("compile", LLAMA, "-o", tmp_path / "a", "--max-length", 32)[0] == 0
    bundle = intaglio.load(tmp_path / "a")
    assert bundle.generate([1] * 30, ignore_eos=True).finish_reason == "context"
    status, _, error = cli("compile", LLAMA, "-o", tmp_path / "b", "--max-length", 1000)
    assert status == 1 and "--max-length is 1000" in error.splitlines()[-1]


def test_inspect_and_verify(cli: Callable[..., Any], folder: Path) -> None:
    status, out, _ = cli("inspect", folder)
    assert status == 0 and "language, programs prefill, step" in out and "dispatches per token: " in out
    assert cli("verify", folder)[0] == 0


# conversations


class Answers:
    """A bundle whose model says these pieces. An exception among them is raised there."""

    def __init__(self, *answers: list[Any], context: int = 1000) -> None:
        self.answers, self.context = iter(answers), context
        self.asked: list[list[str]] = []

    def chat(self, messages: list[dict[str, str]], stream: bool) -> Any:
        assert [m["role"] for m in messages[-1::-2]] == ["user"] * len(messages[-1::-2])
        if sum(len(m["content"]) for m in messages) > self.context:
            raise intaglio.PromptTooLong("too long")
        self.asked.append([m["content"] for m in messages])
        return _Said(next(self.answers))


class _Said(Iterator[Piece]):
    def __init__(self, pieces: list[Any]) -> None:
        self._pieces = iter(pieces)

    def __next__(self) -> Piece:
        piece = next(self._pieces)
        if isinstance(piece, type) and issubclass(piece, BaseException):
            raise piece
        return Piece(piece, [1])

    def finish(self) -> SimpleNamespace:
        return SimpleNamespace(finish_reason="stop")


def talk(monkeypatch: pytest.MonkeyPatch, answers: Answers, lines: str, system: str | None = None) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    Conversation(answers, system, {}, ProgressLine(io.StringIO())).hold(as_json=False)


def test_an_interrupted_answer_counts_as_far_as_it_came(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = Answers(["So ", "far", KeyboardInterrupt, "more"], ["fine"])
    talk(monkeypatch, answers, "a\nb\n")
    assert answers.asked == [["a"], ["a", "So far", "b"]]
    assert capsys.readouterr().out == "So far\nfine\n"


def test_where_no_answer_came_nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers([KeyboardInterrupt], [], ["fine"])
    talk(monkeypatch, answers, "a\nb\nc\n")
    assert answers.asked == [["a"], ["b"], ["b", "", "c"]], "an empty answer is one"


def test_the_oldest_messages_are_forgotten(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = Answers(["1111"], ["2222"], ["3333"], context=20)
    talk(monkeypatch, answers, "aaaa\nbbbb\ncccc\n", system="SSSS")
    assert answers.asked == [["SSSS", "aaaa"], ["SSSS", "aaaa", "1111", "bbbb"], ["SSSS", "bbbb", "2222", "cccc"]]
    assert capsys.readouterr().err.splitlines() == [
        "intaglio: the context is full: the oldest message and its answer were dropped"
    ]


def test_a_message_that_is_too_long_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(intaglio.PromptTooLong):
        talk(monkeypatch, Answers(["1"], context=3), "a\nmuch too long\n")


def test_talk_at_a_terminal(folder: Path) -> None:
    """Prompts, answers, an error that ends nothing, Ctrl-C at the prompt, Ctrl-D."""
    command = [sys.executable, "-m", "intaglio", "run", str(folder), "--chat", "--max-tokens", "3"]
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background are deaf to it
        os.chdir(folder.anchor)
        os.execv(command[0], command)
    try:
        read_until(terminal, "> ")
        for typed, wanted in [
            ("Hi\n", "> "),
            ("x" * 600 + "\n", "the context 96; shorten it, or compile with --max-length\r\n> "),
            ("Hi again", "Hi again"),
            ("\x03", "> "),
            ("Bye\n", "> "),
        ]:
            time.sleep(0.5)  # as a person would: a Ctrl-C between readline's prompt and its wait is lost in Python
            os.write(terminal, typed.encode())
            assert "Traceback" not in read_until(terminal, wanted)
        os.write(terminal, b"\x04")
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(process, signal.SIGKILL)
        os.close(terminal)


def read_until(terminal: int, wanted: str) -> str:
    seen, end = "", time.monotonic() + 300
    while wanted not in seen:
        assert select.select([terminal], [], [], max(0, end - time.monotonic()))[0], f"only this came: {seen!r}"
        seen += os.read(terminal, 4096).decode("utf-8", "replace")
    return seen
