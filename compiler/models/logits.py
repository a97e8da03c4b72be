"""Find the logits among a decoder's outputs, and compute them for all tokens if a file has only those of the last one.

The position of the logits differs between exports, because some have hidden states or pooled rows before them. The
name and the width therefore decide.
"""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.compiler.ir.dims import Dim, low
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import FLOATS, Value
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.shapes import slices

_HIDDEN = "hidden"  # in the names of outputs that are rows before the head


def logits(graph: Graph, vocabulary: int | None) -> Value:
    """Return the output [1, tokens, vocabulary] with the name of logits, or the only one of that width.

    vocabulary: the width in the configuration, if it has one. Raises BadModel if no single output matches.
    """
    rows = [v for v in graph.outputs if len(v.shape) == 3 and v.dtype in FLOATS]
    for choice in (
        [v for v in rows if v.name == "logits"],
        [v for v in rows if v.name.lower().endswith("logits")],
        [v for v in rows if v.shape[-1] == vocabulary],
        [v for v in rows if _HIDDEN not in v.name and (vocabulary is None or low(v.shape[-1]) > vocabulary)],  # padded
    ):
        if len(choice) == 1:
            return choice[0]
    raise BadModel(_missing(rows, vocabulary))


def _missing(rows: Sequence[Value], vocabulary: int | None) -> str:
    width = "" if vocabulary is None else f" of width {vocabulary}"
    names = ", ".join(f"{v.name} {list(map(str, v.shape))}".replace("'", "") for v in rows)[:120] or "none"
    return (
        f"the decoder has no logits [batch, tokens, vocabulary]{width}; its outputs of rank 3: {names}; "
        "export it with its head (GenAI's builder: without exclude_lm_head)"
    )


def of_all_tokens(graph: Graph, last: Value, tokens: Dim) -> Value:
    """Return the logits of all tokens, [1, tokens, vocabulary], in place of `last` [1, 1, vocabulary].

    Skip the node that selects the last row, and apply the nodes after it to all rows. Raises BadModel if no node
    selects that row or if the nodes after it need a single row.
    """
    selection = _selection(graph, last, tokens)
    change = {selection.output: selection.inputs[0]}
    for node in graph.nodes:
        read = [v for v in node.inputs if v in change]
        if not read:
            continue
        if _adds_an_axis(node):
            change[node.output] = change[read[0]]
        else:
            change[node.output] = GraphBuilder(graph, node).like(node, change)
    result = change[last]
    if result.shape != (1, tokens, last.shape[-1]):
        raise BadModel(f"{selection.name} picks the last token, and what follows it needs a single row; {_AGAIN}")
    return result


_AGAIN = "export the model with the logits of all tokens (GenAI's builder: without prune_lm_head)"


def _selection(graph: Graph, last: Value, tokens: Dim) -> Node:
    """Return the node that selects the row of the last token for `last`. Raises BadModel if there is none."""
    value = last
    while (node := graph.producer(value)) is not None:
        if _picks_last(node, tokens):
            return node
        value = next((v for v in node.inputs if v is not None and v.const is None), None)
        if value is None:
            break
    raise BadModel(f"{last.name} has the logits of one token, and no Gather or Slice picks its row; {_AGAIN}")


def _picks_last(node: Node, tokens: Dim) -> bool:
    x = node.inputs[0] if node.inputs else None
    if x is None or len(x.shape) != 3 or x.shape[1] != tokens:
        return False
    if node.op == "Gather":
        index = node.inputs[1]
        axis = node.attrs.get("axis", 0) % 3
        return axis == 1 and index.const is not None and [*index.array.reshape(-1)] in ([-1], [tokens - 1])
    return node.op == "Slice" and slices(node)[1][:2] == (tokens - 1, 1)


def _adds_an_axis(node: Node) -> bool:
    """Return whether a node adds a token axis to a row without one."""
    return node.op in ("Unsqueeze", "Reshape") and node.output.shape == (1, 1, node.inputs[0].shape[-1])
