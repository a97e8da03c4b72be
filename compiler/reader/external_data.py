"""Where external data lies: beside the .onnx file or, in a hub's cache of links, beside the file that it points to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

from intaglio.compiler.reader import load


def opened(path: Path) -> tuple[ModelProto, Path]:
    """The model in a file and the folder of its external data, in which every location is the name of a plain file
    where the file and its data are links. Raises BadModel."""
    model = load.read(path)
    folder, target = path.parent.resolve(), path.resolve().parent
    if folder == target:
        return model, folder
    entries = [e for tensor in _tensors(model.graph) for e in tensor.external_data if e.key == "location"]
    places = {name: _place(folder, target, name) for name in {e.value for e in entries}}
    if not all(place.is_relative_to(target) for place in places.values()):
        return model, folder
    for entry in entries:
        entry.value = str(places[entry.value].relative_to(target))
    return model, target


def locations(model: ModelProto) -> set[str]:
    """The files of a model's external data, as it names them."""
    return {e.value for tensor in _tensors(model.graph) for e in tensor.external_data if e.key == "location"}


def _place(folder: Path, target: Path, name: str) -> Path:
    """Data beside the link comes first."""
    beside = folder / name
    return (beside if beside.is_file() else target / name).resolve()


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """The weights of a graph, and the tensors among the attributes of its nodes, in inner graphs too."""
    yield from graph.initializer
    for attribute in (a for node in graph.node for a in node.attribute):
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == AttributeProto.GRAPH:
            yield from _tensors(attribute.g)
