"""Renders messages to the text that a chat model continues, with its own Jinja template, as transformers does.

A template may come from a stranger, so it runs in Jinja's sandbox. Everything that may take time or memory (iterations,
calls, text that is made or compared) is counted against a fixed budget of work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial, wraps
from types import GeneratorType
from typing import Any, ClassVar

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from intaglio.runtime.errors import BadBundle

WORK = 30_000_000  # characters that a rendering may make or read; the costs below are in characters too
STEP = 500  # the cost of an iteration, a call, or a value that is written
ITEM = 10  # the cost of an item of a list that is iterated

_PROBE = "a text to look for"
_COLLECTIONS = (list, tuple, dict, set, range)
_QUICK = ("count", "first", "last", "length")  # filters that do not iterate
_WRITERS = ("join", "string", "tojson")  # filters, and a method, that write everything in their arguments
_MULTIPLIERS = ("join", "replace")  # those that may write an argument many times


class ChatTemplate:
    """A chat template.

    source: the text of chat_template.jinja. special: the texts of special tokens by name, such as bos_token.
    Raises BadBundle if the template does not parse.
    """

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        self._environment, self._special = _Bounded(), dict(special)
        try:
            tree = _Paying().visit(self._environment.parse(source))
            self._template = self._environment.from_string(tree)
        except Exception as error:  # for a broken template, Jinja's compiler raises other errors than its own too
            raise BadBundle(f"chat_template.jinja is broken: {error}; compile the model again") from error

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None) -> str:
        """Return the text of `messages`, [{"role": ..., "content": ...}, ...], up to the start of the model's answer.

        tools: descriptions of functions that the model may call, as JSON schemas.
        Raises ValueError if the template refuses the messages, and BadBundle if it fails.
        """
        if self._reads_parts:
            messages = [{**m, "content": _as_parts(m.get("content"))} for m in messages]
        return self._rendered(messages, tools)

    @cached_property
    def _reads_parts(self) -> bool:
        """Whether the template shows a content only as a list of parts, as those of vision-language models do."""
        for content in (_PROBE, _as_parts(_PROBE)):
            try:
                if _PROBE in self._rendered([{"role": "user", "content": content}], None):
                    return content is not _PROBE
            except (ValueError, BadBundle):
                continue
        return False

    def _rendered(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None) -> str:
        self._environment.left = WORK
        try:
            return self._template.render(
                messages=messages, tools=tools, documents=None, add_generation_prompt=True, **self._special
            )
        except _Refused as error:
            raise ValueError(f"the model's chat template refuses these messages: {error}") from error
        except Exception as error:
            raise BadBundle(f"chat_template.jinja fails: {str(error) or type(error).__name__}") from error


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class _Refused(jinja2.TemplateError):
    """The error that a template itself raises with raise_exception."""


class _Generation(Extension):
    """Renders the content of {% generation %}, which marks what the model says, for training."""

    tags: ClassVar[set[str]] = {"generation"}  # pyright: ignore[reportIncompatibleVariableOverride] (jinja2 means it)

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Paying(NodeTransformer):
    """Rewrites loops, comparisons, slices and concatenations to calls of the environment, which counts their work."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        if node.recursive:
            raise jinja2.TemplateSyntaxError("recursive loops are not allowed", node.lineno)
        size = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.iter = _call("iterated", node.iter, nodes.Const(size))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:
        self.generic_visit(node)
        size = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.ExprStmt(_call("spend", nodes.Const(STEP + size))))
        return node

    visit_CallBlock = visit_Macro

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:
        self.generic_visit(node)
        node.expr = _call("read", node.expr)
        for operand in node.ops:
            operand.expr = _call("read", operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _call("read", node.node)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("concatenated", *node.nodes)


def _call(method: str, *arguments: nodes.Node) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(method), list(arguments), [], None, None)


class _Bounded(ImmutableSandboxedEnvironment):
    """The environment of transformers' apply_chat_template, with a budget of work that stops a rendering when spent."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        extensions = [_Generation, loopcontrols]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=self._written)
        self.left = WORK
        self.filters |= {"tojson": _to_json}
        self.filters = {name: self._paid(name, function) for name, function in self.filters.items() if name != "format"}
        self.tests = {name: self._paid(name, function) for name, function in self.tests.items()}
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise jinja2.TemplateError("it takes too many steps")

    def iterated(self, items: Iterable[Any], size: int) -> Iterator[Any]:
        for item in items:
            self.spend(STEP + size)
            yield item

    def read(self, value: Any) -> Any:
        self.spend(_size(value))
        return value

    def concatenated(self, *parts: Any) -> str:
        return "".join(str(self._written(part)) for part in parts)

    def _written(self, value: Any) -> Any:
        self.spend(_content(value, self.left))
        return value

    def _pay(self, name: str, arguments: Iterable[Any]) -> None:
        """Pay for a call, whose result is up to the size of its arguments, times the numbers among them."""
        arguments = list(arguments)
        size = partial(_content, most=self.left) if name in _WRITERS else _size
        total = 0 if name in _QUICK else sum(map(size, arguments))
        if name in _MULTIPLIERS:
            total += math.prod(1 + len(a) for a in arguments if isinstance(a, (str, *_COLLECTIONS)))
        self.spend(STEP + total * math.prod(max(1, abs(a)) for a in arguments if isinstance(a, int)))

    def _paid(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def paid(*arguments: Any, **named: Any) -> Any:
            arguments = tuple(map(_listed, arguments))
            self._pay(name, (*arguments, *named.values()))
            return function(*arguments, **named)

        return paid

    # hooks of Jinja's sandbox

    def call(self, context: Any, obj: Any, /, *arguments: Any, **named: Any) -> Any:
        owner = getattr(obj, "__self__", None)
        if owner is self:
            return obj(*arguments)
        arguments = tuple(map(_listed, arguments))
        self._pay(getattr(obj, "__name__", ""), (owner, *arguments, *named.values()))
        return super().call(context, obj, *arguments, **named)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            self.wrap_str_format(left.format)
        elif operator == "+":
            self.spend(_size(left) + _size(right))
        else:
            self._pay(operator, (left, right))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Any:
        """Refuse to format texts, because the arguments do not tell how much text a format writes."""
        if super().wrap_str_format(value) is not None:
            raise jinja2.TemplateError("formatting texts is not supported")


def _listed(value: Any) -> Any:
    """Convert the generator of a lazy filter to a list, so that it has a size."""
    return list(value) if isinstance(value, GeneratorType) else value


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str) else ITEM * len(value) if isinstance(value, _COLLECTIONS) else 1


def _content(value: Any, most: int) -> int:
    """Return the size of everything in a value, at any depth. It stops counting beyond `most`."""
    total, todo = 0, [value]
    while todo and total <= most:
        value = todo.pop()
        total += STEP + _size(value)
        if isinstance(value, dict):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            todo += value
    return total


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Write JSON without escapes for HTML, unlike Jinja's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise_exception(message: str) -> None:
    raise _Refused(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
