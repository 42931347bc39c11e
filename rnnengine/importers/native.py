"""The engine's own file, ``.rnne``: a safetensors file that carries its graph.

The tensors are the graph's constants, weights in packed form, each at a multiple of 64 bytes: the
header is padded with spaces, and byte tensors named ``_pad<n>`` fill the gaps between tensors. The
metadata has one key, ``rnnengine``, whose value is JSON:

==============  ==================================================================================
``format``      version of this description: 3 where weights have fewer bytes than float32, else
                2; files of 1 are read, they have no ``packed``
``graph``       name, source, inputs, outputs, nodes and states
``packed``      which tensors are packed, and how: :mod:`rnnengine.importers.native_weights`
``choices``     node, operator, compute type and reason of layers; absent where nobody chose
``sha256``      of the data, all bytes after the header
``origin``      strings about the file it was made from: ``file``, ``sha256``, ``framework``
``version``     of the package that wrote it
``validation``  strings that say how the model was validated; absent where it was not
==============  ==================================================================================

Values of attributes are JSON's own where these have one type only (null, booleans, strings,
integers, finite floats); any other is an object of one key that names its type: ``tuple``, ``dim``,
``dtype``, ``activation``, ``array``, ``float``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, RNNEngineError, UnsupportedModelError
from rnnengine.graph import (
    Choice,
    Dim,
    Graph,
    Node,
    Size,
    State,
    TensorType,
    UndecidedError,
    Value,
    as_lowered,
)
from rnnengine.graph.verify import verify
from rnnengine.importers.native_weights import constants, settled, stored
from rnnengine.importers.safetensors import DTYPES, Content, Header
from rnnengine.ops.recurrent import ACTIVATIONS, Activation
from rnnengine.records import field, record

__all__ = ["FORMAT", "KEY", "NativeFile", "is_native", "pack", "read_native", "unpack"]

Array = np.ndarray[Any, Any]

FORMAT = 3
KEY = "rnnengine"
_ALIGNMENT = 64
_PAD = "_pad"
_CODES = {np.dtype(v): k for k, v in DTYPES.items() if k not in ("BF16", "F16")}
_NAMES = {d.name: d for d in _CODES}
_DAMAGE = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, UndecidedError,
    ValueError,
)  # fmt: skip
_LONGEST = 1 << 16
"""Elements of the longest list that a description may have where it is no list of nodes."""


@record
class NativeFile:
    """What a ``.rnne`` file holds: the graph, and where it came from."""

    graph: Graph
    origin: Mapping[str, str]
    version: str
    verified: bool
    validation: Mapping[str, str] = field(default_factory=dict)


def is_native(header: Header) -> bool:
    """Whether a safetensors file carries a graph of this format."""
    return KEY in header.metadata


def pack(
    graph: Graph,
    *,
    origin: Mapping[str, str] | None = None,
    version: str = "",
    validation: Mapping[str, str] | None = None,
) -> bytes:
    """Write a graph as the content of a ``.rnne`` file.

    Parameters
    ----------
    graph : Graph
    origin : mapping of str to str, optional
        What to say of the file that the graph was made from.
    version : str
        Of the package.
    validation : mapping of str to str, optional
        What to say of how the model was validated.

    Raises
    ------
    UnsupportedModelError
        Naming the node whose attribute, or the constant whose element type, has no form here.
    """
    entries: dict[str, Any] = {}
    pieces: list[bytes] = []
    end = 0
    tensors, packed = stored(graph)
    for name, value in tensors.items():
        dtype = value.dtype.newbyteorder("<") if value.dtype.itemsize > 1 else value.dtype
        if dtype not in _CODES or name.startswith(_PAD):
            raise UnsupportedModelError(
                f"constant {name!r} is {value.dtype}; a .rnne file holds {', '.join(_NAMES)}, "
                f"under names that do not start with {_PAD!r}"
            )
        gap = -end % _ALIGNMENT
        if gap:
            entries[f"{_PAD}{len(pieces)}"] = _entry("U8", (gap,), end, gap)
            pieces.append(bytes(gap))
            end += gap
        piece = np.ascontiguousarray(value, dtype).tobytes()
        entries[name] = _entry(_CODES[dtype], value.shape, end, len(piece))
        pieces.append(piece)
        end += len(piece)
    data = b"".join(pieces)
    small = any(as_lowered(value) is not None for value in graph.constants.values())
    choices = [[c.node, c.op, c.compute_type, c.reason] for c in graph.choices]
    description = {
        "format": FORMAT if small or choices else 2,
        "graph": _graph(graph),
        "packed": packed,
        **({"choices": choices} if choices else {}),
        "sha256": _digest(data),
        "origin": dict(origin or {}),
        "version": version,
        **({} if validation is None else {"validation": dict(validation)}),
    }
    metadata = {KEY: json.dumps(description, separators=(",", ":"), allow_nan=False)}
    header = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % _ALIGNMENT)
    return len(header).to_bytes(8, "little") + header + data


def _entry(code: str, shape: tuple[int, ...], start: int, size: int) -> dict[str, Any]:
    return {"dtype": code, "shape": list(shape), "data_offsets": [start, start + size]}


def _graph(graph: Graph) -> dict[str, Any]:
    return {
        "name": graph.name,
        "source": graph.source,
        "inputs": [
            [v.name, v.type.dtype.name, [_packed(s, f"input {v.name!r}") for s in v.type.shape]]
            for v in graph.inputs
        ],
        "outputs": list(graph.outputs),
        "nodes": [
            [
                node.op,
                node.name,
                list(node.inputs),
                list(node.outputs),
                {
                    key: _packed(value, f"node {node.name!r} ({node.op}): attribute {key!r}")
                    for key, value in node.attrs.items()
                },
            ]
            for node in graph.nodes
        ],
        "states": [
            [s.name, s.input, s.output, *(_packed(v, s.name) for v in (s.start, s.initial)),
             s.implicit]
            for s in graph.states
        ],
    }  # fmt: skip


def _packed(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, tuple | list):
        return {"tuple": [_packed(v, where) for v in value]}
    if isinstance(value, Dim):
        return {"dim": [[[list(power) for power in monomial], n] for monomial, n in value.terms]}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, Activation):
        fields = (value.alpha, value.beta, value.gamma)
        return {"activation": [value.name, *(_packed(v, where) for v in fields)]}
    if isinstance(value, np.ndarray) and value.size <= _LONGEST and value.dtype.name in _NAMES:
        items = [_packed(v, where) for v in value.reshape(-1).tolist()]
        return {"array": [value.dtype.name, list(value.shape), items]}
    raise UnsupportedModelError(f"{where} is {value!r}; a .rnne file has no form for it")


def read_native(
    content: Content, name: str, header: Header, *, verify_data: bool = False
) -> NativeFile:
    """Read a ``.rnne`` file.

    Parameters
    ----------
    content : bytes or memoryview
        The constants are views of it where they are aligned.
    name : str
        For messages.
    header : Header
        As parsed from the content.
    verify_data : bool
        Compare the hash of the data with the one in the file.

    Raises
    ------
    ModelFormatError
        The file is damaged, or its graph contradicts itself.
    UnsupportedModelError
        It is of a newer format.
    """
    try:
        description = json.loads(header.metadata[KEY])
        version = description["format"]
        if type(version) is int and version > FORMAT:
            raise UnsupportedModelError(
                f"{name}: format {version}, written by version {str(description.get('version'))!r} "
                f"of the package; this one reads up to format {FORMAT}"
            )
        if type(version) is not int or version < 1:
            raise ModelFormatError(f"{name}: format is {version!r}; expected 1 to {FORMAT}")
        _check_hash(content, header, description["sha256"], name, verify_data)
        packed = description["packed"] if version > 1 else {}
        graph = verify(_unpacked_graph(description["graph"], packed, content, header))
        chosen = description.get("choices", []) if version > 2 else []
        if not all(len(c) == 4 and _strings(c) for c in chosen):
            raise TypeError("choices are not strings")
        graph = graph.with_(choices=tuple(Choice(*c) for c in chosen))
        origin, writer = description["origin"], description["version"]
        checked = description.get("validation", {})
        if not _strings([*origin, *origin.values(), writer, *checked, *checked.values()]):
            raise TypeError("origin, version and validation are not strings")
    except RNNEngineError as error:
        text = str(error)
        error.args = (text if text.startswith(name) else f"{name}: {text}",)
        raise
    except _DAMAGE as error:
        raise ModelFormatError(
            f"{name}: its description of the graph is damaged ({type(error).__name__}: "
            f"{str(error)[:200]})"
        ) from None
    return NativeFile(graph, origin, writer, verify_data, checked)


def _check_hash(content: Content, header: Header, said: Any, name: str, verify_data: bool) -> None:
    if not isinstance(said, str) or len(said) != 64:
        raise ModelFormatError(f"{name}: its sha256 is {str(said)[:80]!r}; expected 64 digits")
    if verify_data:
        found = _digest(memoryview(content)[header.data :])
        if found != said:
            raise ModelFormatError(
                f"{name}: the data is damaged: its sha256 is {found}, the file says {said}"
            )


def _digest(data: bytes | memoryview) -> str:
    import hashlib  # loads OpenSSL, which an import of the package should not wait for

    return hashlib.sha256(data).hexdigest()


def _strings(values: Any) -> bool:
    return all(isinstance(v, str) for v in values)


def _optional(values: Any) -> tuple[str | None, ...]:
    if not isinstance(values, list) or not _strings(v for v in values if v is not None):
        raise TypeError(f"expected a list of names, got {str(values)[:80]}")
    return tuple(values)


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:80]} is no name")
    return value


def _unpacked_graph(
    said: Mapping[str, Any], packed: Mapping[str, Any], content: Content, header: Header
) -> Graph:
    inputs = []
    for name, dtype, shape in said["inputs"]:
        sizes = tuple(_size(unpack(s)) for s in shape)
        inputs.append(Value(_name(name), TensorType(_NAMES[dtype], sizes)))
    nodes = []
    for op, name, used, made, attrs in said["nodes"]:
        values = {key: unpack(value) for key, value in attrs.items()}
        nodes.append(Node(_name(op), _name(name), _optional(used), _optional(made), values))
    states = []
    for name, source, target, start, initial, implicit in said["states"]:
        first, value = unpack(start), unpack(initial)
        if type(implicit) is not bool or not isinstance(first, tuple | None):
            raise TypeError(f"state {name!r} is malformed")
        if not isinstance(value, np.ndarray | None):
            raise TypeError(f"state {name!r} has an initial value that is no array")
        ends = _name(source), _name(target)
        states.append(State(_name(name), *ends, first, value, implicit))
    kept = [key for key in header.tensors if not key.startswith(_PAD)]
    graph = Graph(
        _name(said["name"]),
        tuple(inputs),
        tuple(_name(output) for output in said["outputs"]),
        tuple(nodes),
        constants(content, header, kept, packed),
        tuple(states),
        _name(said["source"]),
    )
    return settled(graph)


def _size(value: Any) -> Size:
    if not isinstance(value, Dim) and (type(value) is not int or value < 0):
        raise TypeError(f"{str(value)[:80]} is no size")
    return value


def unpack(value: Any) -> Any:
    """Return the value of an attribute from its form in the file."""
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise TypeError(f"{str(value)[:80]} is no value")
    ((kind, content),) = value.items()
    return _FORMS[kind](content)


def _dim(terms: Any) -> Dim:
    made = tuple(
        (tuple((str(n), int(p)) for n, p in monomial), int(factor)) for monomial, factor in terms
    )
    orderly = [sorted(set(made)) == list(made), bool(made), made != (((), made[0][1]),)]
    for monomial, factor in made:
        names = [n for n, _ in monomial]
        orderly += [factor != 0, names == sorted(set(names)), all(p > 0 for _, p in monomial)]
    if not all(orderly):
        raise ValueError(f"{str(terms)[:80]} is no symbolic size")
    return Dim(made)


def _array(fields: Any) -> Array:
    dtype, shape, items = fields
    if len(items) > _LONGEST:
        raise ValueError(f"an attribute has {len(items)} elements")
    return np.array([unpack(v) for v in items], _NAMES[dtype]).reshape([int(s) for s in shape])


def _activation(fields: Any) -> Activation:
    name, *parameters = fields
    if name not in ACTIVATIONS or len(parameters) != 3:
        raise ValueError(f"activation {str(name)[:80]!r} is not known")
    return Activation(name, *(float(unpack(p)) for p in parameters))


_FORMS: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda items: tuple(unpack(v) for v in items),
    "dim": _dim,
    "dtype": lambda name: _NAMES[name],
    "activation": _activation,
    "array": _array,
    "float": float,
}
