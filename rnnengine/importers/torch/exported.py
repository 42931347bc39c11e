"""Exported programs (``.pt2``): their weights, and the settings of their recurrent layers.

Layouts after ``torch/export/pt2_archive``: weights as raw bytes beside a table in JSON, or, as
older versions of PyTorch wrote them, as a file of ``torch.save`` inside the archive.
"""

from __future__ import annotations

import json
from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.checkpoint import Checkpoint, Module
from rnnengine.importers.torch.archive import Archive
from rnnengine.importers.torch.choose import choose
from rnnengine.importers.torch.container import read_content
from rnnengine.importers.torch.inert import brief
from rnnengine.importers.torch.modules import Found
from rnnengine.importers.torch.tensors import StorageRef, TensorRef, check_extent, whole_numbers
from rnnengine.importers.torch.weights import finished

__all__ = ["is_exported", "read_exported"]

_WEIGHTS = "data/weights/"
_OLD = ("serialized_exported_program.json", "serialized_state_dict.pt")
_MOST_JSON = 256 << 20
# The numbers of torch/_export/serde/schema.py, ScalarType.
_TYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16",
    29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz",
}  # fmt: skip
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
        found = _weights(archive, base, model.rpartition("/")[2].removesuffix(".json"), name)
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


def _weights(archive: Archive, base: str, model: str, name: str) -> Found:
    member = f"{base}/{_WEIGHTS}{model}_weights_config.json"
    if member not in archive:
        whole = f"{base}/{_WEIGHTS}{model}.pt"
        if whole not in archive:
            raise ModelFormatError(f"{name}: the archive has no weights at {member!r}")
        inner = read_content(bytes(archive.view(whole)), f"{name}: {whole}")
        return choose(inner.root, {}, name, None)
    table = _get(_json(archive, member, name), "config")
    if not isinstance(table, dict):
        raise ModelFormatError(f"{name}: {member!r} has no table 'config'")
    big = (
        bytes(archive.view(f"{base}/byteorder")[:3]) == b"big"
        if (f"{base}/byteorder" in archive)
        else False
    )
    found, storages = Found(), dict[str, StorageRef]()
    for weight, entry in table.items():
        found.leaves[weight] = _weight(archive, base, weight, entry, storages, big, name)
    return found


def _weight(
    archive: Archive,
    base: str,
    weight: str,
    entry: Any,
    storages: dict[str, StorageRef],
    big: bool,
    name: str,
) -> TensorRef:
    where = f"{name}: weight {weight[:200]!r}"
    file, meta = _get(entry, "path_name"), _get(entry, "tensor_meta")
    if not isinstance(file, str) or _get(entry, "use_pickle") is not False:
        raise UnsupportedModelError(f"{where} is stored as a pickle; accepted: raw bytes")
    dtype = _TYPES.get(_get(meta, "dtype")) if type(_get(meta, "dtype")) is int else None
    if dtype is None:
        raise UnsupportedModelError(f"{where} has the type number {brief(_get(meta, 'dtype'))}")
    member = f"{base}/{_WEIGHTS}{file}"
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
