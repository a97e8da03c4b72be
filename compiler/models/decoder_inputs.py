"""Read a decoder for T tokens and no past. Its inputs other than token ids are bound or computed from T.

Exporters differ in these inputs (caches, masks, positions, flags). None of them remains, because the passes derive the
cache again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from onnx import ModelProto

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, FLOATS, TensorType, Value, known
from intaglio.compiler.models import computed_inputs, logits
from intaglio.compiler.models import embedding as embeddings
from intaglio.compiler.reader import external_data, load
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.runtime.contract import LOGITS, TOKENS

_WHOLE = ("i64", "i32")
_AXES = 3  # of positions in time and space, where a file does not say how many


@dataclass(frozen=True)
class Inputs:
    """The names of a decoder's inputs by role.

    ids, masks, positions: token ids, ones, and positions from 0 on, [tokens], [1, tokens] or, for positions in time and
    space, which are equal in texts, [axes, 1, tokens]. types: zeros, the type of tokens of a text. rows: an encoder's
    rows. across: keys and values of cross-attention. fixed: inputs that are always the same, with their content.
    """

    ids: tuple[str, ...]
    masks: tuple[str, ...]
    positions: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[str, ...]
    across: tuple[str, ...]
    fixed: dict[str, np.ndarray]


def inputs(
    model: ModelProto, encoder: bool, sizes: Mapping[str, int] | None = None, embedded: Collection[str] = ()
) -> Inputs:
    """Return the inputs of a decoder by role.

    encoder: whether the decoder has an encoder. sizes: the sizes of named cache dimensions; other named ones are 0.
    embedded: the inputs that a separate embedding computes, which have no role. Raises BadModel for an input that is
    not supported.
    """
    names_by_role: dict[str, list[str]] = {role.name: [] for role in fields(Inputs) if role.name != "fixed"}
    fixed: dict[str, np.ndarray] = {}
    declared = {i.name: i.type.tensor_type.shape.dim for i in model.graph.input}
    for name, (dtype, rank) in load.input_types(model).items():
        if name in embedded:
            continue
        if dtype == "bool":
            fixed[name] = np.zeros([1] * rank, bool)  # use_cache_branch
        elif dtype in _WHOLE and rank == 0:
            fixed[name] = np.array(0, DTYPES[dtype])  # num_logits_to_keep: 0 keeps all
        elif dtype in _WHOLE and rank <= 2:
            role = "masks" if "mask" in name else "positions" if rank == 1 or "position" in name else "ids"
            names_by_role["types" if "token_type" in name else role].append(name)
        elif dtype in _WHOLE and rank == 3 and "position" in name:
            names_by_role["positions"].append(name)
        elif dtype in FLOATS and rank == 3 and encoder:
            names_by_role["rows"].append(name)
        elif dtype in FLOATS and rank == 4 and encoder and "cross" in name:
            names_by_role["across"].append(name)
        elif dtype in FLOATS and rank == 4 and declared[name][1].dim_value:
            _, heads, rows, head_dim = (d.dim_value or (sizes or {}).get(d.dim_param, 0) for d in declared[name])
            rows = 0 if declared[name][2].dim_value else rows
            fixed[name] = np.zeros((1, heads, rows, head_dim), DTYPES[dtype])
        else:
            raise BadModel(
                f"the decoder's input {name} ({dtype}, rank {rank}) is not supported; export the model with Optimum"
            )
    return Inputs(**{role: tuple(names) for role, names in names_by_role.items()}, fixed=fixed)


def feeds(
    model: ModelProto,
    ids: np.ndarray,
    rows: np.ndarray | None = None,
    encoded: Mapping[str, np.ndarray] | None = None,
    sizes: Mapping[str, int] | None = None,
    embedded: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Return the inputs of a decoder's file, by name, for the tokens `ids` [1, tokens] and no past.

    rows: the rows of the encoder. encoded: its other outputs by name. embedded: the inputs that a separate embedding
    computes. Raises BadModel for an unsupported input.
    """
    roles, types = inputs(model, rows is not None, sizes, embedded or ()), load.input_types(model)
    passed = {
        **dict.fromkeys(roles.ids, ids),
        **dict.fromkeys(roles.masks, np.ones_like(ids)),
        **dict.fromkeys(roles.types, np.zeros_like(ids)),
        **dict.fromkeys(roles.positions, np.arange(ids.size)[None]),
    }
    shapes = _shapes(model, passed, ids.size)
    shaped = {
        name: np.broadcast_to(array.reshape(-1), tuple(map(dims.fixed, shapes[name]))).astype(DTYPES[types[name][0]])
        for name, array in passed.items()
    }
    across = {name: (encoded or {})[_made_as(name)] for name in roles.across}
    encoded_rows = dict.fromkeys(roles.rows, rows) if rows is not None else {}
    return {**roles.fixed, **shaped, **encoded_rows, **across, **(embedded or {})}


def _shapes(model: ModelProto, names: Collection[str], tokens: Dim) -> dict[str, tuple[Dim, ...]]:
    """Return the shapes of inputs of whole numbers for `tokens` tokens: [tokens], [1, tokens] or [axes, 1, tokens]."""
    declared = {i.name: i.type.tensor_type.shape.dim for i in model.graph.input if i.name in names}
    before = {1: (), 2: (1,)}
    return {name: (*before.get(len(d), (d[0].dim_value or _AXES, 1)), tokens) for name, d in declared.items()}


def _made_as(name: str) -> str:
    """Return the name of the encoder's output that is the decoder's input `name`."""
    return name.replace("past", "present")


def read(
    path: Path,
    tokens: Dim,
    encoder: Graph | None = None,
    vocabulary: int | None = None,
    embedding: Graph | None = None,
) -> Graph:
    """Return the graph input_ids [1, tokens] -> logits f32[1, tokens, vocabulary].

    With an encoder, the graph also has the input encoder_hidden_states, which is the encoder's rows. If the encoder
    also computes keys and values of cross-attention, these nodes move into the decoder. vocabulary: the width of the
    logits, if the configuration gives it. embedding: the graph of a separate embedding, whose nodes are copied.
    Raises BadModel, UnsupportedOperator.
    """
    model, folder = external_data.opened(path)
    embedded: dict[str, str] = {}
    if embedding is not None:
        embedded = embeddings.wires(model, {v.name: len(v.shape) for v in embedding.outputs})
    elif encoder is None:
        embeddings.refuse_missing(load.input_types(model), path)
    roles = inputs(model, encoder is not None, embedded=embedded)
    shapes = _shapes(model, (*roles.ids, *roles.masks, *roles.types, *roles.positions), tokens)
    across: dict[str, Value] = {}
    if encoder is not None:
        across = _across(roles.across, encoder)
        shapes |= {name: value.shape for name, value in across.items()}
        shapes |= dict.fromkeys(roles.rows, encoder.outputs[0].shape)
    if embedding is not None:
        computed = {v.name: v.shape for v in embedding.outputs}
        shapes |= {name: computed[output] for name, output in embedded.items()}
    graph = load.load(model, "decode", folder=folder, shapes=shapes, bind=roles.fixed)
    if embedding is not None:
        embeddings.join(graph, embedding, embedded)
    for value in [v for v in graph.inputs if v.name in roles.masks + roles.types + roles.positions]:
        if value.name in roles.positions:
            computed_inputs.count(graph, value)
        else:
            computed_inputs.fill(graph, value, int(value.name in roles.masks))
    if encoder is not None and across:
        _move_from_encoder(graph, encoder, across)
    output = logits.logits(graph, vocabulary)
    if output.shape[1] == 1 and not isinstance(tokens, int):
        output = logits.of_all_tokens(graph, output, tokens)
    graph.outputs = [output]
    return _checked(graph, {2: "input_ids"} | ({3: "encoder_hidden_states"} if encoder is not None else {}))


def _across(names: Collection[str], encoder: Graph) -> dict[str, Value]:
    """Return the outputs of the encoder that the decoder takes under these names."""
    made = {v.name: v for v in encoder.outputs}
    if missing := [name for name in names if _made_as(name) not in made]:
        raise BadModel(f"the decoder needs {', '.join(missing)}, but the encoder's outputs are {', '.join(made)}")
    return {name: made[_made_as(name)] for name in names}


def _move_from_encoder(graph: Graph, encoder: Graph, across: Mapping[str, Value]) -> None:
    """Move the nodes that compute the decoder's inputs `across` from the encoder into the decoder."""
    hidden = encoder.outputs[0]
    rows = graph.value("encoder_hidden_states", hidden.type)
    for value in [v for v in graph.inputs if v.name in across]:
        for node in encoder.ancestors(across[value.name], stop=(hidden,)):
            if graph.producer(node.output) is None:
                read = tuple(rows if v is hidden else v for v in node.inputs)
                graph.add(Node(node.op, read, node.outputs, node.attrs, node.sources))
        graph.inputs.remove(value)
        graph.redirect(value, across[value.name])
    graph.inputs.append(rows)
    encoder.outputs = [hidden]
    encoder.prune()


def _checked(graph: Graph, roles: dict[int, str]) -> Graph:
    """Return the graph with its inputs named by rank as in `roles`. Raises BadModel if it has other inputs."""
    graph.prune()
    graph.inputs = [v for v in graph.inputs if graph.consumers(v)]
    if sorted(len(v.shape) for v in graph.inputs) != sorted(roles):
        inputs = ", ".join(v.name for v in graph.inputs)
        raise BadModel(f"the decoder reads {inputs}; expected {' and '.join(roles.values())}")
    for value in graph.inputs:
        value.name = roles[len(value.shape)]
    graph.outputs[0].name = LOGITS
    return graph


def tokens_state(ids: np.ndarray, context: int) -> np.ndarray:
    """Return the state i32[1, context + 1, 1] with the tokens `ids` [1, n] in its first rows."""
    tokens = np.zeros((1, context + 1, 1), np.int32)
    tokens[0, : ids.shape[1], 0] = ids[0]
    return tokens


def read_tokens(graph: Graph, past: Dim, new: Dim, context: int) -> int:
    """Replace the input of token ids by the `new` rows after the first `past` rows of the state `tokens`; return 1.

    The state is i32[1, context + 1, 1], with a row for each position. Runs read tokens and write the next one.
    """
    ids = next(v for v in graph.inputs if v.name == "input_ids")
    graph.inputs.remove(ids)
    tokens = graph.value(TOKENS, TensorType("i32", (1, context + 1, 1)))
    graph.states.append(tokens)
    builder = GraphBuilder(graph, graph.consumers(ids)[0])
    bounds = (known([past], (1,)), known([past + new], (1,)), np.array([1]))
    rows = builder.Slice(tokens, *map(builder.constant, bounds))
    graph.redirect(ids, builder.Reshape(rows, builder.constant(known([1, new], (2,)))))
    return 1
