"""Modules of whole-module pickles and TorchScript archives: their weights and their settings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnengine.errors import ModelFormatError
from rnnengine.importers.checkpoint import Module
from rnnengine.importers.torch.inert import Name, Record, Values
from rnnengine.importers.torch.tensors import TensorRef

__all__ = ["Found", "is_module", "read_module"]

_DEEPEST = 100
_MOST_MODULES = 100_000

_OWN = re.compile(
    r"^(__torch__\.)?torch(\.ao)?\.nn\.((intrinsic|quantized|qat)\.)?((dynamic|quantized)\.)*modules\."
)
_MANGLED = re.compile(r"___torch_mangle_\d+\.")
_PACKED = ("param", "_packed_params", "_packed_weight_ih", "_packed_weight_hh")


@dataclass
class Found:
    """Weights by name, not yet arrays, and what is known of the modules.

    Attributes
    ----------
    leaves : dict of str to Any
        Tensors, NumPy arrays, and the packed weights of quantised layers.
    modules : dict of str to Module
    """

    leaves: dict[str, Any] = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)


def is_module(value: Any) -> bool:
    """Whether a record is a module: of a pickle, or of a TorchScript archive."""
    if not isinstance(value, Record):
        return False
    state = value.state
    if type(state.get("_parameters")) is dict and type(state.get("_modules")) is dict:
        return True
    module = value.kind.module
    return module.split(".")[0] == "__torch__" and ".classes." not in f"{module}."


def read_module(root: Record, code: Mapping[str, str], where: str) -> Found:
    """Collect the weights of a module and of all modules below it.

    Parameters
    ----------
    root : Record
    code : mapping of str to str
        Texts of a TorchScript archive; they are searched for constants, never executed.
    where : str
        Name of the file, for messages.

    Raises
    ------
    ModelFormatError
        The modules are nested without end.
    """
    found = Found()
    constants = dict(_script_constants(code))
    pending: list[tuple[str, Record, int]] = [("", root, 0)]
    count = 0
    while pending:
        path, record, depth = pending.pop()
        count += 1
        if depth > _DEEPEST or count > _MOST_MODULES:
            raise ModelFormatError(f"{where}: modules nested without end, at {path[:80]!r}")
        said = constants.get(_plain(record.kind, keep_mangling=True), _Constants())
        found.modules[path] = _described(record, said)
        below = []
        for name, value in _children(record, said):
            inner = f"{path}.{name}" if path else name
            if is_module(value):
                below.append((inner, value, depth + 1))
            else:
                found.leaves[inner] = value
        pending.extend(reversed(below))
    return found


def _children(record: Record, said: _Constants) -> Iterator[tuple[str, Any]]:
    """Weights and modules of a module, by name."""
    state = record.state
    if type(state.get("_parameters")) is not dict:
        yield from _script_children(state, said)
        return
    hidden = state.get("_non_persistent_buffers_set")
    omitted = [n for n in hidden if type(n) is str] if isinstance(hidden, list) else []
    for group in ("_parameters", "_buffers", "_modules"):
        for name, value in state[group].items() if type(state.get(group)) is dict else ():
            if value is not None and not (group == "_buffers" and name in omitted):
                yield str(name), value
    for name in _PACKED:
        if isinstance(state.get(name), (tuple, Record)):
            yield name, state[name]


def _script_children(state: dict[Any, Any], said: _Constants) -> Iterator[tuple[str, Any]]:
    for name, value in state.items():
        packed = name in _PACKED and isinstance(value, (tuple, Record))
        weight = isinstance(value, (TensorRef, Values)) and name in (said.weights or (name,))
        if weight or packed or is_module(value):
            yield str(name), value


def _plain(kind: Name, *, keep_mangling: bool = False) -> str:
    return str(kind) if keep_mangling else _MANGLED.sub("", str(kind))


def _described(record: Record, said: _Constants) -> Module:
    """The class and settings of a module. Classes of PyTorch's own go by their bare name."""
    full = _plain(record.kind).removeprefix("__torch__.")
    kind = full.rpartition(".")[2] if _OWN.match(full) else full
    attrs: dict[str, Any] = {}
    for name, value in (*said.values.items(), *record.state.items()):
        public = type(name) is str and name and not name.startswith("_") and name != "training"
        if public and _is_setting(value):
            attrs[name] = value
    mode = attrs.get("mode")
    if kind == "RNN" and mode in ("RNN_TANH", "RNN_RELU"):
        attrs["nonlinearity"] = mode[4:].lower()
    return Module(kind, attrs)


def _is_setting(value: Any) -> bool:
    if type(value) is tuple:
        return len(value) <= 8 and all(type(v) in (int, float, bool, str) for v in value)
    return type(value) in (int, float, bool, str)


@dataclass
class _Constants:
    """What the text of a TorchScript class says of it."""

    values: dict[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()


_CLASS = re.compile(r"^class (\w+)\(Module\):\n((?:[ ]{2}.*\n|\n)*)", re.MULTILINE)
_FINAL = re.compile(r"^  (\w+) : Final\[(?:int|float|bool|str)\] = (.{1,200})$", re.MULTILINE)
_LISTED = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)
_CALL = re.compile(
    r"torch\.(lstm|gru|rnn_tanh|rnn_relu)\([^\n]*"
    r" (True|False), (\d{1,4}), [\d.e-]{1,20}, (?:True|False), (True|False), (True|False)\)"
)


def _script_constants(code: Mapping[str, str]) -> Iterator[tuple[str, _Constants]]:
    """For each class of the texts, by its full name: its constants and its weights."""
    for path, text in code.items():
        module = path.removesuffix(".py").replace("/", ".")
        for match in _CLASS.finditer(text):
            body, said = match[2], _Constants()
            for name, literal in _FINAL.findall(body):
                value = _literal(literal)
                if value is not None:
                    said.values[name] = value
            listed = [re.findall(r'"([^"\\]+)"', names) for names in _LISTED.findall(body)]
            said.weights = tuple(name for names in listed for name in names)
            _traced(body, said)
            yield f"{module}.{match[1]}", said


def _traced(body: str, said: _Constants) -> None:
    """Settings of a traced layer stand in its one call only."""
    calls = set(_CALL.findall(body))
    if len(calls) == 1 and "num_layers" not in said.values:
        operator, biases, layers, both, batch_first = calls.pop()
        said.values.update(
            mode=operator.upper(),
            bias=biases == "True",
            num_layers=int(layers),
            bidirectional=both == "True",
            batch_first=batch_first == "True",
        )


def _literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if type(value) in (int, float, bool, str) else None
