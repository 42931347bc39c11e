"""Exported programs (``.pt2``): their weights, and the settings of their recurrent layers.

Layouts after ``torch/export/pt2_archive``: weights as raw bytes beside a table in JSON, or, as
older versions of PyTorch wrote them, as a file of ``torch.save`` inside the archive.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Graph, Value
from rnnengine.importers.checkpoint import Checkpoint, Module
from rnnengine.importers.torch.archive import Archive
from rnnengine.importers.torch.aten import import_program, read_program
from rnnengine.importers.torch.aten.graph import arrays, program_inputs
from rnnengine.importers.torch.aten.program import scalar_type
from rnnengine.importers.torch.choose import choose
from rnnengine.importers.torch.container import read_content
from rnnengine.importers.torch.modules import Found
from rnnengine.importers.torch.tensors import StorageRef, TensorRef, check_extent, whole_numbers
from rnnengine.importers.torch.weights import finished, plain

__all__ = ["is_exported", "open_inputs", "read_exported", "read_graph"]

_FOLDERS = {"weights": "data/weights/", "constants": "data/constants/"}
_OLD = (
    "serialized_exported_program.json", "serialized_state_dict.pt", "serialized_constants.pt"
)  # fmt: skip
_MOST_JSON = 256 << 20
_LAYERS = {
    "torch.ops.aten.lstm.input": ("LSTM", None),
    "torch.ops.aten.gru.input": ("GRU", None),
    "torch.ops.aten.rnn_tanh.input": ("RNN", "tanh"),
    "torch.ops.aten.rnn_relu.input": ("RNN", "relu"),
}


def is_exported(archive: Archive) -> bool:
    """Whether a zip archive is an exported program."""
    return _OLD[0] in archive or any(
        n.count("/") == 2 and n.partition("/")[2].startswith("models/") and n.endswith(".json")
        for n in archive.names
    )


def read_exported(archive: Archive, name: str, stored: int, key: str | None) -> Checkpoint:
    """Read the weights of an exported program; its graph is searched for recurrent layers.

    Raises
    ------
    ModelFormatError
        It is damaged.
    UnsupportedModelError
        It holds several models.
    """
    if _OLD[0] in archive:
        inner = read_content(bytes(archive.view(_OLD[1])), f"{name}: {_OLD[1]}")
        found = choose(inner.root, {}, name, key)
        program = _json(archive, _OLD[0], name)
    else:
        model, base = _model(archive, name)
        program = _json(archive, model, name)
        found = _tensors(archive, base, model, "weights", name)
    tensors, modules = finished(Found(found.leaves, _layers(program)), stored, name)
    return Checkpoint(tensors, modules, "torch", name)


def _model(archive: Archive, name: str) -> tuple[str, str]:
    """The member with the program, and the folder all members stand in."""
    found = [n for n in archive.names if n.count("/") == 2 and n.endswith(".json")]
    found = [n for n in found if n.partition("/")[2].startswith("models/")]
    if len(found) != 1:
        raise UnsupportedModelError(
            f"{name}: an archive of {len(found)} models, {found[:8]}; save the wanted one alone"
        )
    return found[0], found[0].partition("/")[0]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key comes twice")
    return made


def _json(archive: Archive, member: str, name: str) -> Any:
    if archive.size(member) > _MOST_JSON:
        raise ModelFormatError(f"{name}: {member!r} has {archive.size(member)} bytes; refused")
    try:
        return json.loads(bytes(archive.view(member)), object_pairs_hook=_unique)
    except ValueError as error:
        raise ModelFormatError(f"{name}: {member!r} is no JSON ({error})") from None


def _get(value: Any, *path: str) -> Any:
    """A value deep inside dictionaries, or None."""
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def read_graph(
    archive: Archive, name: str, stored: int, sizes: Mapping[str, int] | None = None
) -> Graph:
    """Read the graph of an exported program, with its parameters, buffers and constants.

    Raises
    ------
    ModelFormatError
        It is damaged or contradicts itself.
    UnsupportedModelError
        It holds several models, or calls an operator that is not supported; names it.
    """
    found = Found()
    if _OLD[0] in archive:
        program = _json(archive, _OLD[0], name)
        for member in _OLD[1:]:
            if member in archive:
                inner = read_content(bytes(archive.view(member)), f"{name}: {member}")
                if inner.root != {}:
                    found.leaves.update(choose(inner.root, {}, name, None).leaves)
    else:
        model, base = _model(archive, name)
        program = _json(archive, model, name)
        for kind in _FOLDERS:
            found.leaves.update(_tensors(archive, base, model, kind, name).leaves)
    tensors = arrays(plain(found, stored, name), name)
    return import_program(read_program(program, name), tensors, name, sizes)


def open_inputs(archive: Archive, name: str) -> tuple[Value, ...]:
    """Inputs of an exported program, with free sizes as symbols."""
    program = _json(archive, _OLD[0] if _OLD[0] in archive else _model(archive, name)[0], name)
    return program_inputs(read_program(program, name))


def _tensors(archive: Archive, base: str, model: str, kind: str, name: str) -> Found:
    """Weights or constants of a model: a table in JSON, or a file of ``torch.save``."""
    start = f"{base}/{_FOLDERS[kind]}{model.rpartition('/')[2].removesuffix('.json')}"
    member = f"{start}_{kind}_config.json"
    if member not in archive:
        whole = f"{start}.pt"
        if whole not in archive:
            if kind == "constants":
                return Found()
            raise ModelFormatError(f"{name}: the archive has no weights at {member!r}")
        inner = read_content(bytes(archive.view(whole)), f"{name}: {whole}")
        return Found() if inner.root == {} else choose(inner.root, {}, name, None)
    table = _get(_json(archive, member, name), "config")
    if not isinstance(table, dict):
        raise ModelFormatError(f"{name}: {member!r} has no table 'config'")
    order = f"{base}/byteorder"
    big = order in archive and bytes(archive.view(order)[:3]) == b"big"
    found, storages = Found(), dict[str, StorageRef]()
    for weight, entry in table.items():
        where = f"{name}: {kind.removesuffix('s')} {weight[:200]!r}"
        path = f"{base}/{_FOLDERS[kind]}"
        found.leaves[weight] = _weight(archive, path, entry, storages, big, where)
    return found


def _weight(
    archive: Archive,
    folder: str,
    entry: Any,
    storages: dict[str, StorageRef],
    big: bool,
    where: str,
) -> TensorRef:
    file, meta = _get(entry, "path_name"), _get(entry, "tensor_meta")
    if not isinstance(file, str) or _get(entry, "use_pickle") is not False:
        raise UnsupportedModelError(f"{where} is stored as a pickle; accepted: raw bytes")
    dtype = scalar_type(_get(meta, "dtype"), where)
    member = folder + file
    if member not in storages:
        storage = StorageRef(file[:100], None, archive.size(member), big_endian=big)
        if storage.numel < 0:
            raise ModelFormatError(f"{where}: member {member!r} is missing from the archive")
        storage.fetch = lambda: archive.view(member)
        storages[member] = storage
    offset = _get(meta, "storage_offset", "as_int")
    tensor = TensorRef(
        storages[member],
        dtype,
        offset if type(offset) is int else -1,
        _sizes(_get(meta, "sizes"), where),
        _sizes(_get(meta, "strides"), where),
    )
    check_extent(tensor, where)
    return tensor


def _sizes(values: Any, where: str) -> tuple[int, ...]:
    numbers = [_get(v, "as_int") for v in values] if isinstance(values, list) else None
    return whole_numbers(numbers, "sizes or strides", where)


def _layers(program: Any) -> dict[str, Module]:
    """Settings of the recurrent layers, by the path that the names of their weights begin with."""
    graph = _get(program, "graph_module", "graph")
    specs = _get(program, "graph_module", "signature", "input_specs")
    names: dict[str, str] = {}
    for spec in specs if isinstance(specs, list) else ():
        parameter = _get(spec, "parameter", "parameter_name")
        argument = _get(spec, "parameter", "arg", "name")
        if isinstance(parameter, str) and isinstance(argument, str):
            names[argument] = parameter
    found: dict[str, Module] = {}
    nodes = _get(graph, "nodes")
    for node in nodes if isinstance(nodes, list) else ():
        target = _get(node, "target")
        if isinstance(target, str) and target in _LAYERS:
            path, module = _layer(node, names, *_LAYERS[target])
            if module is not None:
                found[path] = module
    return found


def _layer(
    node: Any, names: dict[str, str], kind: str, nonlinearity: str | None
) -> tuple[str, Module | None]:
    inputs = _get(node, "inputs")
    given: dict[str, Any] = {}
    for entry in inputs if isinstance(inputs, list) else ():
        if isinstance(_get(entry, "name"), str):
            given[entry["name"]] = _get(entry, "arg")
    weights = _get(given.get("params"), "as_tensors")
    first = _get(weights[0], "name") if isinstance(weights, list) and weights else None
    weight = names.get(first) if isinstance(first, str) else None
    if weight is None or not weight.rpartition(".")[2].startswith("weight_ih_l"):
        return "", None
    attrs: dict[str, Any] = {} if nonlinearity is None else {"nonlinearity": nonlinearity}
    for said, word in (
        ("has_biases", "bias"),
        ("bidirectional", "bidirectional"),
        ("batch_first", "batch_first"),
    ):
        value = _get(given.get(said), "as_bool")
        if type(value) is bool:
            attrs[word] = value
    layers = _get(given.get("num_layers"), "as_int")
    if type(layers) is int:
        attrs["num_layers"] = layers
    return weight.rpartition(".")[0], Module(kind, attrs)
