"""Find by trial which free sizes a user must give so that a refused model compiles.

A refusal rarely shows which size causes it. If the model compiles with a given size, that size is the cause.
"""

from __future__ import annotations

import ast
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnx import ModelProto

from intaglio.compiler.ir.errors import MOST, BadModel, Reason, UnsupportedOperator, listed
from intaglio.compiler.ir.values import FLOATS
from intaglio.compiler.models.plain import binding
from intaglio.compiler.models.plain.possible import is_alone, possible
from intaglio.compiler.reader import load
from intaglio.runtime.contract import FREE

Bind = Mapping[str, Any]
Attempt = Callable[[Bind], None]  # raises BadModel if the model does not compile with these sizes

MOST_ATTEMPTS = 96  # compilations to try
RATE = 16_000  # the sample rate in Hz of models that take speech

_LENGTHS = re.compile(r"seq|len|time|frame|token|past|cache|history|^[tl]$")
_IMAGES = re.compile(r"height|width|^[hw]$")
_SUM = re.compile(rf"(?:\d+\*)?{FREE}\w+(?:[+-](?:\d+\*)?\w+)*")
_SCALES = (1.0, 2 / 7, 1 / 8, 4.0, 8.0, 128.0)  # factors of the example sizes, which may not fit: images are 224 or 64
_WIDEST = 4  # ranges to try end at this multiple of the example
_BATCH = 4  # another batch size to try if the batch became 1


def settle(model: ModelProto, bind: Bind, error: BadModel, attempt: Attempt) -> tuple[dict[str, Any], str]:
    """Return `bind` with the sizes that the user need not give, if the model then compiles, and a note about them.

    These sizes are a batch, which becomes 1, and all that have one possible value or range.
    Otherwise raise `error` with the sizes that the user must give.
    """
    search = _Search(model, bind, attempt)
    if isinstance(error, UnsupportedOperator) and not all(reason.why for reason in error.reasons):
        raise search.final(error) from error  # no size replaces a kernel
    if search.batch and search.works(search.batch):
        return {**bind, **search.batch}, search.note()
    candidates, rest = search.candidates()
    if not candidates:
        raise search.explained(error, rest) from error
    needed = search.needed(candidates)
    own = search.own(needed)
    if own.keys() < needed.keys():
        raise search.asking(error, needed, own) from error
    return {**bind, **own}, search.choice(own)


class _Search:
    def __init__(self, model: ModelProto, bind: Bind, attempt: Attempt) -> None:
        self._model, self._bind, self._attempt = model, bind, attempt
        self._tried: dict[str, BadModel | None] = {}
        given = binding.bound(model, bind)
        inputs = load.input_types(model)
        self._places = {
            label: (i, axis)
            for label, (i, axis) in binding.free(model).items()
            if i not in given and not isinstance(given.get(label), int)
        }
        self._ranges = {label: size for label, size in given.items() if isinstance(size, range)}
        self._types = {label: inputs[i] for label, (i, _) in self._places.items()}
        self.batch = {label: 1 for label in self._places if self._is_batch(label) and label not in self._ranges}
        self._switches = {name: _value(name) for name, size in _switches(model).items() if name not in given and size}

    def works(self, sizes: Bind) -> bool:
        return self._error(sizes) is None

    def note(self) -> str:
        """Return a note for the user about a batch that became 1."""
        names = ", ".join(self.batch)
        for size in (range(1, 2 * _BATCH + 1), _BATCH):
            if self.works(dict.fromkeys(self.batch, size)):
                another = f"for more, compile with {_options(dict.fromkeys(self.batch, size))}"
                return f"the batch ({names}) is 1, because the model does not compile with a free one; {another}"
        return f"the batch ({names}) is 1; the model does not compile with another one"

    def own(self, needed: Mapping[str, int]) -> dict[str, Any]:
        """Return those of the needed sizes that the user need not give, with their values or ranges."""
        result: dict[str, Any] = {label: 1 for label in needed if self._is_own_batch(label, needed[label])}
        for label in sorted(needed.keys() - self._switches.keys() - self._ranges.keys() - result.keys()):

            def works(size: int | range, label: str = label) -> bool:
                return self.works({**needed, **result, label: size})

            if is_alone(works, needed[label]):
                if not self._is_tied(label, {**needed, **result}):
                    result[label] = needed[label]
            elif (size := possible(works, needed[label])) is not None:
                result[label] = size
        return result

    def _is_own_batch(self, label: str, size: int) -> bool:
        return label in self.batch or (size == 1 and label in self._places and self._is_inner(label))

    def _is_tied(self, label: str, sizes: Bind) -> bool:
        """Return whether another value of a size is possible together with another value of a second size."""
        others = [name for name in sizes if name in self._places and name != label and isinstance(sizes[name], int)]
        twice = {name: 2 * sizes[name] for name in (label, *others)}
        return any(self.works({**sizes, label: twice[label], name: twice[name]}) for name in others)

    def choice(self, sizes: Mapping[str, Any]) -> str:
        """Return a note for the user about sizes that were not given."""
        named = ", ".join(f"{label} is {binding.shown(size)}" for label, size in sizes.items())
        return f"{named}: the model does not compile with all sizes; for another one, compile with --bind NAME=SIZE"

    def asking(self, error: BadModel, needed: Mapping[str, int], own: Bind) -> BadModel:
        """Return `error` with the user's own names and, at its end, those needed sizes that are not in `own`."""
        asked = {label: size for label, size in needed.items() if label not in own}
        return self._refusal(error, f"; give sizes, for example {_example(asked, self._wide(asked, own))}")

    def explained(self, error: BadModel, rest: BadModel | None) -> BadModel:
        """Return `error` with the user's own names where no sizes help. rest: what is refused with all sizes given."""
        if not isinstance(error, UnsupportedOperator):
            return self.final(error)
        if not self._places or (rest is not None and _nodes(rest) <= _nodes(error)):
            return self.final(rest or error)
        return self._refusal(error, f"; what can be given: --bind NAME=SIZE for {listed(list(self._places))}")

    def candidates(self) -> tuple[dict[str, Any], BadModel | None]:
        """Return sizes (and inputs if needed) with which the model compiles, or {} and its error with sizes alone."""
        rest: BadModel | None = None
        for scale in _SCALES if self._places else _SCALES[:1]:
            sizes = self._sizes(scale)
            inner = {label: 1 for label in self._places if self._is_inner(label)}
            for chosen in (sizes, sizes | self._switches, sizes | inner, sizes | inner | self._switches):
                if chosen and self.works(chosen):
                    return chosen, None
            error = self._error(sizes)
            if rest is None and isinstance(error, UnsupportedOperator):
                rest = error
        return {}, rest

    def needed(self, candidates: dict[str, int]) -> dict[str, int]:
        """Return a minimal set of the candidates that the model needs (QuickXplain, Junker 2004)."""

        def needed(fixed: dict[str, int], of: Sequence[str]) -> dict[str, int]:
            if self.works(fixed):
                return {}
            if len(of) == 1:
                return {of[0]: candidates[of[0]]}
            first, second = of[: len(of) // 2], of[len(of) // 2 :]
            late = needed(fixed | {name: candidates[name] for name in first}, second)
            return needed(fixed | late, first) | late

        return needed({}, sorted(candidates, key=lambda name: (name not in self.batch, name in self._switches)))

    def _wide(self, asked: Mapping[str, int], own: Bind) -> dict[str, range]:
        """Return ranges that the model accepts together in place of the sizes to ask for."""
        wide: dict[str, range] = {}
        for name in sorted(asked.keys() - self._switches.keys() - self._ranges.keys()):
            for low in (1, asked[name]):
                tried = range(low, _WIDEST * asked[name] + 1)
                if name not in wide and self.works({**own, **asked, **wide, name: tried}):
                    wide[name] = tried
        return wide

    def final(self, error: BadModel) -> BadModel:
        """Return a refusal that no size removes."""
        if isinstance(error, UnsupportedOperator) and any("computed at run time" in r.why for r in error.reasons):
            names = list(_switches(self._model))
            end = f"; an input that decides it can be given: --bind NAME=VALUE or NAME=FILE.npy for {listed(names, 80)}"
            return self._refusal(error, end if names else "; this is not supported")
        return error if str(error) == self._named(str(error)) else self._refusal(error, "")

    def _refusal(self, error: BadModel, end: str) -> UnsupportedOperator:
        reasons = getattr(error, "reasons", ()) or (Reason("", str(error), ()),)
        named = [Reason(r.op, self._named(r.why), r.nodes) for r in reasons]
        return UnsupportedOperator(named[0].why, named[0].op, ", ".join(named[0].nodes), named, end)

    def _named(self, text: str) -> str:
        """`text` with sizes as the user calls them, and spaces in their sums."""
        labels = {load.identifier(label): label for label in binding.free(self._model)}
        spaced = _SUM.sub(lambda sum: re.sub(r"(?<=\w)[+-]", r" \g<0> ", sum[0]).replace("*", " * "), text)
        return re.sub(rf"\b({FREE}\w+?)(_by_\d+)?\b", lambda name: _original(name, labels), spaced)

    def _error(self, sizes: Bind) -> BadModel | None:
        """Why the model does not compile with `sizes`, or None. After too many attempts: that."""
        key = repr(sorted(sizes.items()))
        if key not in self._tried:
            if len(self._tried) >= MOST_ATTEMPTS:
                return BadModel(f"{MOST_ATTEMPTS} attempts did not find sizes that help")
            try:
                self._attempt({**self._bind, **sizes})
                self._tried[key] = None
            except BadModel as error:
                self._tried[key] = error
        return self._tried[key]

    def _sizes(self, scale: float) -> dict[str, Any]:
        """An example of every free size; those that are sums of others are the sums of their examples."""
        simple = {label: self._size(label, scale) for label in self._places}
        return {label: _sum(label, simple) or self._within(label, size) for label, size in simple.items()}

    def _size(self, label: str, scale: float) -> int:
        return 1 if self._is_batch(label) else max(1, math.ceil(scale * self._typical(label)))

    def _typical(self, label: str) -> int:
        (_, axis), (dtype, rank) = self._places[label], self._types[label]
        name = self._words(label)
        if _LENGTHS.search(name) or (dtype not in FLOATS and axis == 1):
            return 128
        if _IMAGES.search(name) or (rank == 4 and axis >= 2 and not name):
            return 224
        return 64

    def _is_batch(self, label: str) -> bool:
        (_, axis), (_, rank) = self._places[label], self._types[label]
        name = self._words(label)
        return "batch" in name or (axis == 0 and rank > 1 and not _LENGTHS.search(name))

    def _is_inner(self, label: str) -> bool:
        """Return whether a size may be the batch of a state [layers, batch, units]: unnamed and not the last axis."""
        (_, axis), (_, rank) = self._places[label], self._types[label]
        return not self._words(label) and axis < rank - 1

    def _words(self, label: str) -> str:
        """Return the name of a size in lower case, or "" if it has none."""
        name, axis = self._places[label]
        return "" if label == f"{name}.{axis}" else label.lower()

    def _within(self, label: str, size: int) -> int:
        allowed = self._ranges.get(label)
        return min(max(size, allowed.start), allowed.stop - 1) if allowed else size


def _switches(model: ModelProto) -> dict[str, bool]:
    """Return the integer and boolean inputs of rank 0 or 1, which may decide shapes, and whether each is one number."""
    result: dict[str, bool] = {}
    for i in load.free_inputs(model):
        dims = i.type.tensor_type.shape.dim
        if len(dims) <= 1 and load.input_types(model)[i.name][0] not in FLOATS:
            result[i.name] = all(d.dim_value == 1 for d in dims)
    return result


def _value(name: str) -> int:
    """Return an example value of an input that is one number."""
    return RATE if re.search(r"^sr$|rate", name.lower()) else 1


def _nodes(error: BadModel) -> set[str]:
    return {node for reason in getattr(error, "reasons", ()) for node in reason.nodes} or {str(error)}


def _sum(label: str, sizes: Mapping[str, int]) -> int:
    """Return the value of a label such as past + 1, or 0 if it is not arithmetic on labels."""
    try:
        tree = ast.parse(label, mode="eval").body
        return max(0, _evaluated(tree, sizes)) if isinstance(tree, ast.BinOp) else 0
    except (SyntaxError, KeyError, TypeError, ValueError):
        return 0


def _evaluated(tree: ast.expr, sizes: Mapping[str, int]) -> int:
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub | ast.Mult):
        a, b = _evaluated(tree.left, sizes), _evaluated(tree.right, sizes)
        return a + b if isinstance(tree.op, ast.Add) else a - b if isinstance(tree.op, ast.Sub) else a * b
    return sizes[tree.id] if isinstance(tree, ast.Name) else int(ast.literal_eval(tree))


def _original(name: re.Match[str], labels: Mapping[str, str]) -> str:
    """Return what the user calls a size, or a size that is so many times another, as in n_x_by_8."""
    label = labels.get(name[0]) or labels.get(name[1], name[1])
    return label if name[0] in labels or not name[2] else f"({label} / {name[2].removeprefix('_by_')})"


def _option(name: str, value: Any) -> str:
    return f"--bind {shlex.quote(f'{name}={binding.shown(value)}')}"


def _example(sizes: Mapping[str, int], wide: Mapping[str, range]) -> str:
    """Return the options that give sizes, each with the range that the model also accepts."""
    options = [
        _option(name, size) + (f" (or {binding.shown(wide[name])})" if name in wide else "")
        for name, size in sizes.items()
    ]
    count = len(options)
    while count > 1 and len(" ".join(options[:count])) > MOST * 2 // 3:
        count -= 1
    return " ".join(options[:count]) + (f" and {len(options) - count} more" if count < len(options) else "")


def _options(sizes: Bind) -> str:
    return " ".join(_option(name, size) for name, size in sizes.items())
