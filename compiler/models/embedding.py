"""The embedding of a decoder in a file of its own: it computes the rows that the decoder reads from token ids.

Vision-language models have such a file, because rows of images can replace those of tokens. Without images, its nodes
in front of those of the decoder make an ordinary language model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, helper

from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, FLOATS, Value
from intaglio.compiler.reader import external_data, load

EMBED = "embed"  # the name of the graph
ROWS = "inputs_embeds"  # what exporters call the rows of tokens
_FILE = "embed_tokens"  # its file, in the folders of Optimum and transformers.js
_IMAGES = ("pixel_values", "image_features", "image_embeds")  # inputs of decoders that read images themselves


def inputs(model: ModelProto) -> tuple[str, dict[str, np.ndarray]]:
    """Return the name of the token ids, and the other inputs: images and sounds, of which there are none.

    Raises BadModel for inputs of other kinds.
    """
    ids, fixed = [], {}
    declared = {i.name: i.type.tensor_type.shape.dim for i in model.graph.input}
    for name, (dtype, rank) in load.input_types(model).items():
        if dtype in ("i64", "i32") and rank == 2:
            ids.append(name)
        elif dtype in FLOATS:
            fixed[name] = np.zeros([d.dim_value for d in declared[name]], DTYPES[dtype])
        else:
            raise BadModel(f"the embedding's input {name} ({dtype}, rank {rank}) is not supported; expected token ids")
    if len(ids) != 1:
        raise BadModel(f"the embedding reads {', '.join(ids) or 'no integers'}; expected token ids [batch, tokens]")
    return ids[0], fixed


def feeds(model: ModelProto, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs of an embedding's file, by name, for token ids [1, tokens]. Raises BadModel."""
    name, fixed = inputs(model)
    return {name: ids.astype(DTYPES[load.input_types(model)[name][0]]), **fixed}


def read(path: Path, tokens: Dim) -> Graph:
    """Return the graph of an embedding: input_ids [1, tokens] -> rows. Raises BadModel, UnsupportedOperator."""
    model, folder = external_data.opened(path)
    ids, fixed = inputs(model)
    model = without_images(model, fixed)
    graph = load.load(model, EMBED, folder=folder, shapes={ids: (1, tokens)}, bind=fixed)
    graph.inputs[0].name = "input_ids"
    return graph


def without_images(model: ModelProto, names: Collection[str]) -> ModelProto:
    """Return the model without what replaces rows of tokens by those of the inputs `names`, which have no rows.

    Where to replace them depends on the tokens, so that the number of these places has no bound. Raises BadModel if
    the rows of tokens depend on these inputs in another way.
    """
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    derived, nodes = set(names), []
    for node in model.graph.node:
        if derived.isdisjoint(node.input):
            nodes.append(node)
        elif (rest := _other_rows(node, derived)) is not None:
            nodes.append(helper.make_node("Identity", [rest], node.output, node.name))
        else:
            derived.update(node.output)
    if kept := derived.intersection(o.name for o in model.graph.output):
        raise BadModel(f"the embedding's output {min(kept)} depends on {', '.join(names)}; export it for texts alone")
    reached = {o.name for o in model.graph.output}
    for node in reversed(nodes):
        if not reached.isdisjoint(node.output):
            reached.update(node.input)
            result.graph.node.insert(0, node)
    return result


def _other_rows(node: NodeProto, derived: Collection[str]) -> str | None:
    """Return the input whose rows a node leaves where it has no others to put in; None for other nodes."""
    if node.op_type in ("ScatterND", "ScatterElements"):
        return node.input[0] if node.input[0] not in derived else None
    rows = [name for name in node.input[1:] if name not in derived]
    return rows[0] if node.op_type == "Where" and node.input[0] not in derived and len(rows) == 1 else None


def wires(decoder: ModelProto, outputs: Mapping[str, int]) -> dict[str, str]:
    """Return the outputs of the embedding by the decoder's inputs that they are. outputs: their ranks by name.

    Names decide or, if they differ, that only one input and one output have rank 3. Raises BadModel if nothing fits.
    """
    types = load.input_types(decoder)
    result = {name: name for name, (dtype, _) in types.items() if dtype in FLOATS and name in outputs}
    rows = [name for name, (dtype, rank) in types.items() if dtype in FLOATS and rank == 3]
    computed = [name for name, rank in outputs.items() if rank == 3]
    if not result and len(rows) == len(computed) == 1:
        result = {rows[0]: computed[0]}
    if not result:
        raise BadModel(f"the embedding computes {', '.join(outputs)}; the decoder takes {', '.join(types)}")
    return result


def join(graph: Graph, embedding: Graph, of: Mapping[str, str]) -> None:
    """Put the nodes of the embedding in front of those of the decoder `graph`. of: the result of `wires`."""
    nodes = embedding.copy(EMBED)
    outputs = {v.name: v for v in nodes.outputs}
    for node in nodes.nodes:
        for value in node.outputs:
            value.name = graph.value(value.name, value.type).name
        graph.add(node)
    for value in [v for v in graph.inputs if v.name in of]:
        graph.inputs.remove(value)
        graph.redirect(value, _as_type(graph, outputs[of[value.name]], value))
    graph.inputs += nodes.inputs


def _as_type(graph: Graph, rows: Value, value: Value) -> Value:
    """Return `rows` in the type of the decoder's input `value`."""
    if rows.dtype == value.dtype:
        return rows
    cast = graph.value(f"{value.name}.cast", value.type)
    graph.add(Node("Cast", (rows,), (cast,), {"to": value.dtype}, (value.name,)))
    return cast


def refuse_missing(names: Collection[str], decoder: Path) -> None:
    """Raise BadModel if a decoder without an embedding has the inputs `names` of one that needs it, or takes images."""
    expected = f"{_FILE}.onnx"
    if ROWS in names:
        raise BadModel(
            f"{decoder.name} takes {ROWS}, which {expected} computes from tokens; "
            f"copy {expected} of the same model to {decoder.parent}"
        )
    if images := [name for name in names if name in _IMAGES]:
        raise BadModel(
            f"{decoder.name} takes {', '.join(images)}: it is part of a vision-language model, "
            "which is not supported; export its text model alone, which takes input_ids"
        )
