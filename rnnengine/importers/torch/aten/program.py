"""The JSON of an exported program as plain records: calls, arguments, sizes, signature.

The layout is that of ``torch/_export/serde/schema.py``: tagged unions such as ``{"as_int": 3}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Size, UndecidedError
from rnnengine.importers.torch.aten.sizes import parse_size
from rnnengine.importers.torch.inert import brief

__all__ = ["Names", "Node", "Program", "Ref", "Spec", "Subgraph", "read_program", "scalar_type"]

SCALAR_TYPES: dict[int, str] = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16",
    29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz",
}  # fmt: skip
"""Numbers of the enumeration ScalarType."""

_PLAIN = ("as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats", "as_bools",
          "as_strings", "as_scalar_type")  # fmt: skip
_IGNORED = ("as_memory_format", "as_layout", "as_device")
_MOST_NODES = 200_000
_MOST_TEXT = 4096
_DEEPEST = 40


@dataclass(frozen=True)
class Ref:
    """The name of a tensor or of a number that another call computes."""

    name: str


@dataclass(frozen=True)
class Node:
    """One call of an operator: its target, arguments by name (or place), names of its results."""

    name: str
    target: str
    args: Mapping[str, Any]
    outputs: tuple[Names, ...]


Names = str | tuple[str, ...]
"""Name of a result, or names of a list of results."""


@dataclass(frozen=True)
class Subgraph:
    """A graph handed to an operator: names of its inputs and outputs, and its calls."""

    inputs: tuple[str, ...]
    outputs: tuple[Any, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Spec:
    """An input of the graph: what it is (parameter, buffer, ...), its name, and its target."""

    kind: str
    name: str
    target: str


@dataclass(frozen=True)
class Program:
    """A whole exported program.

    Attributes
    ----------
    inputs : tuple of Spec
        Parameters, buffers, constants and inputs of the user.
    outputs : tuple of (str, Any)
        Kind and argument of every output.
    names : tuple of str
        Names of the outputs given by the keys of dictionaries; empty where there is no key.
    body : Subgraph
    types : mapping of str to (str, tuple of size)
        Element type and shape of the tensors of the graph.
    limits : mapping of str to (int, int or None)
        Smallest and largest value of every symbol.
    """

    inputs: tuple[Spec, ...]
    outputs: tuple[tuple[str, Any], ...]
    names: tuple[str, ...]
    body: Subgraph
    types: Mapping[str, tuple[str, tuple[Size, ...]]]
    limits: Mapping[str, tuple[int, int | None]]


def read_program(raw: Any, where: str) -> Program:
    """Check the JSON of a program and give it a plain form.

    Raises
    ------
    ModelFormatError
        It is not laid out as the schema says.
    UnsupportedModelError
        It has a kind of input, or a size, that is not supported.
    """
    module = _field(raw, "graph_module", where)
    graph = _field(module, "graph", where)
    signature = _field(module, "signature", where)
    inputs = [_input_spec(s, where) for s in _items(_field(signature, "input_specs", where), where)]
    outputs = [
        _output_spec(s, where) for s in _items(_field(signature, "output_specs", where), where)
    ]
    body = _graph(graph, where, 0)
    tensors = _field(graph, "tensor_values", where)
    if not isinstance(tensors, dict):
        raise ModelFormatError(f"{where}: the graph has no table of its tensors")
    wanted = {spec.name for spec in inputs if spec.kind == "user_input"}
    return Program(
        tuple(inputs),
        tuple(outputs),
        _output_names(module, len(outputs)),
        body,
        {n: _type(m, f"{where}: input {n!r}") for n, m in tensors.items() if n in wanted},
        _limits(raw),
    )


def scalar_type(number: Any, where: str) -> str:
    """Name of an element type.

    Raises
    ------
    UnsupportedModelError
        It is not known.
    """
    found = SCALAR_TYPES.get(number) if type(number) is int else None
    if found is None:
        raise UnsupportedModelError(f"{where}: element type number {brief(number)} is not known")
    return found


def _field(value: Any, key: str, where: str) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise ModelFormatError(f"{where}: the exported program has no {key!r} where one belongs")
    return value[key]


def _items(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST_NODES:
        raise ModelFormatError(f"{where}: the exported program has {brief(value)} for a list")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise ModelFormatError(f"{where}: the exported program has {brief(value)} for a name")
    return value


def _tagged(value: Any, where: str) -> tuple[str, Any]:
    """The tag and the content of a union."""
    given = [(k, v) for k, v in value.items() if v is not None] if isinstance(value, dict) else []
    if len(given) == 2:  # older writers put a '$type' beside it
        given = [(k, v) for k, v in given if not k.startswith("$")]
    if len(given) != 1:
        raise ModelFormatError(f"{where}: {brief(value)} is no argument of an exported program")
    return given[0]


def _input_spec(raw: Any, where: str) -> Spec:
    kind, spec = _tagged(raw, where)
    if kind == "token":
        raise UnsupportedModelError(f"{where}: the program orders side effects by tokens; refused")
    if kind == "user_input":
        tag, content = _tagged(_field(spec, "arg", where), where)
        if tag != "as_tensor":
            raise UnsupportedModelError(
                f"{where}: the program takes an input that is no tensor ({tag}); accepted: tensors."
                " Fix the other arguments before exporting, for example with functools.partial"
            )
        name = _text(_field(content, "name", where), where)
        return Spec(kind, name, name)
    if kind == "constant_input":
        return Spec(kind, _text(_field(spec, "name", where), where), "")
    if kind not in ("parameter", "buffer", "tensor_constant"):
        raise UnsupportedModelError(
            f"{where}: the program has an input of kind {kind!r}; accepted: tensors, parameters, "
            "buffers and constants"
        )
    argument = _field(_field(spec, "arg", where), "name", where)
    return Spec(kind, _text(argument, where), _text(_field(spec, f"{kind}_name", where), where))


def _output_spec(raw: Any, where: str) -> tuple[str, Any]:
    kind, spec = _tagged(raw, where)
    target = next((spec[k] for k in ("buffer_name", "user_input_name") if k in spec), "")
    if kind not in ("user_output", "loss_output"):
        raise UnsupportedModelError(
            f"{where}: the program changes {target or 'something'!r} ({kind}); accepted: programs "
            "that only compute outputs. Call .eval() before exporting, and return new state as an "
            "output"
        )
    return kind, _argument(_field(spec, "arg", where), where, 0)


def _output_names(module: Any, count: int) -> tuple[str, ...]:
    """Keys under which the program returns its outputs, as far as these are texts."""
    entries = module.get("module_call_graph")
    first = entries[0] if isinstance(entries, list) and entries else None
    signature = first.get("signature") if isinstance(first, dict) else None
    text = signature.get("out_spec") if isinstance(signature, dict) else None
    try:
        spec = json.loads(text)[1] if isinstance(text, str) and len(text) < 1 << 20 else None
        names = tuple(".".join(path) for path in _leaves(spec, (), 0))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        names = ()
    return names if len(names) == count else ("",) * count


def _leaves(spec: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[str, ...]]:
    children = spec["children_spec"]
    keys: list[str] = []
    if spec["type"] in ("builtins.dict", "collections.OrderedDict"):
        keys = [k for k in json.loads(spec["context"]) if isinstance(k, str)]
    if spec["type"] is None or depth > _DEEPEST:
        yield path
        return
    for i, child in enumerate(children):
        inner = (*path, keys[i]) if len(keys) == len(children) else path
        yield from _leaves(child, inner, depth + 1)


def _graph(raw: Any, where: str, depth: int) -> Subgraph:
    if depth > _DEEPEST:
        raise ModelFormatError(f"{where}: graphs nested more than {_DEEPEST} deep")
    nodes = _items(_field(raw, "nodes", where), where)
    inputs = []
    for entry in _items(_field(raw, "inputs", where), where):
        tag, content = _tagged(entry, where)
        named = tag in ("as_tensor", "as_sym_int") and isinstance(content, dict)
        inputs.append(
            _text(content.get("name", content.get("as_name", "")), where) if named else ""
        )
    outputs = [_argument(o, where, depth) for o in _items(_field(raw, "outputs", where), where)]
    return Subgraph(tuple(inputs), tuple(outputs), tuple(_node(n, where, depth) for n in nodes))


def _node(raw: Any, where: str, depth: int) -> Node:
    target = _text(_field(raw, "target", where), where)
    args: dict[str, Any] = {}
    for i, entry in enumerate(_items(_field(raw, "inputs", where), where)):
        name = _text(_field(entry, "name", where), where) or str(i)
        if name in args:
            raise ModelFormatError(f"{where}: a call of {target} has two arguments {name!r}")
        args[name] = _argument(_field(entry, "arg", where), where, depth)
    outputs: list[Names] = []
    for entry in _items(_field(raw, "outputs", where), where):
        made = _argument(entry, where, depth)
        listed = made if isinstance(made, list) else [made]
        names = tuple(ref.name if isinstance(ref, Ref) else "" for ref in listed)
        outputs.append(names if isinstance(made, list) else names[0])
    flat = [n for o in outputs for n in ((o,) if isinstance(o, str) else o)]
    name = raw.get("name") or next((n for n in flat if n), target)
    return Node(_text(name, where), target, args, tuple(outputs))


def _argument(raw: Any, where: str, depth: int) -> Any:
    """An argument in plain terms; references become :class:`Ref`."""
    tag, content = _tagged(raw, where)
    if tag in _PLAIN:
        return content
    if tag == "as_none":
        return None
    if tag in _IGNORED:
        return tag
    if tag == "as_complex":
        raise UnsupportedModelError(f"{where}: complex numbers are not supported")
    if tag == "as_tensor":
        return Ref(_text(_field(content, "name", where), where))
    if tag in ("as_tensors", "as_nested_tensors"):
        return [Ref(_text(_field(t, "name", where), where)) for t in _items(content, where)]
    if tag in ("as_optional_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"):
        inner, value = _tagged(content, where)
        return Ref(_text(value, where)) if inner == "as_name" else _argument(content, where, depth)
    if tag in ("as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
        single = {"as_optional_tensors": "as_optional_tensor"}.get(tag, tag[:-1])
        return [_argument({single: item}, where, depth) for item in _items(content, where)]
    if tag == "as_graph":
        return _graph(_field(content, "graph", where), where, depth + 1)
    raise UnsupportedModelError(f"{where}: an argument of kind {tag!r} is not supported")


def _type(meta: Any, where: str) -> tuple[str, tuple[Size, ...]]:
    sizes = [_size(s, where) for s in _items(_field(meta, "sizes", where), where)]
    return scalar_type(_field(meta, "dtype", where), where), tuple(sizes)


def _size(raw: Any, where: str) -> Size:
    tag, content = _tagged(raw, where)
    if tag == "as_int" and type(content) is int and 0 <= content < 1 << 48:
        return content
    text = _text(_field(content, "expr_str", where), where) if tag == "as_expr" else ""
    try:
        return parse_size(text)
    except (ValueError, UndecidedError, RecursionError):
        raise UnsupportedModelError(
            f"{where}: its size {text or brief(raw)!r} is no sum of products of named sizes; export"
            " with plain dynamic sizes"
        ) from None


def _limits(raw: Any) -> dict[str, tuple[int, int | None]]:
    found = {}
    ranges = raw.get("range_constraints")
    for name, limit in ranges.items() if isinstance(ranges, dict) else ():
        bounds = [limit.get(k) if isinstance(limit, dict) else None for k in ("min_val", "max_val")]
        least, most = (b if type(b) is int else None for b in bounds)
        found[name] = (least or 0, most)
    return found


def numpy_type(name: str, where: str) -> np.dtype[Any]:
    """Element type that stands for one of the program's inside the graph.

    Raises
    ------
    UnsupportedModelError
        Nothing does.
    """
    if name in ("float32", "int32", "bool"):
        return np.dtype(name)
    if name in ("int64", "int16", "int8", "uint8"):
        return np.dtype(np.int32)
    raise UnsupportedModelError(
        f"{where} is of type {name}; accepted: float32 and integers. Call .float() on the module "
        "before exporting"
    )
