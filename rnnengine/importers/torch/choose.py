"""Which of the objects in a checkpoint are the model's weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rnnengine.errors import ModelFormatError, UnsafeFileError, UnsupportedModelError
from rnnengine.importers.torch.inert import Record, Values, brief
from rnnengine.importers.torch.modules import Found, is_module, read_module
from rnnengine.importers.torch.tensors import TensorRef

__all__ = ["choose"]

_DEEPEST = 8
_USUAL = {
    "model", "model_dict", "model_params", "model_state", "model_state_dict", "model_weights",
    "module", "net", "net_state_dict", "network", "params", "parameters", "state_dict", "weights",
}  # fmt: skip
_BESIDE = re.compile(
    r"optim|sched|scaler|^amp$|(^|_)rng|^grad|_grads?$|^args$|^config$|hparams|hyper_parameters|"
    r"callbacks|^loops$|metric|history|^loss"
)
_LAST = (".", "_extra_state")

_Path = tuple[str, ...]


def choose(root: Any, code: Mapping[str, str], where: str, key: str | None) -> Found:
    """Find the weights in what a file holds.

    Parameters
    ----------
    root : Any
        The object that was saved.
    code : mapping of str to str
        Texts of a TorchScript archive.
    where : str
        Name of the file, for messages.
    key : str, optional
        Which part to take, where there are several; parts of a path are joined by dots.

    Raises
    ------
    UnsupportedModelError
        There are no weights, or several parts could be meant; the message lists them.
    UnsafeFileError
        A weight is made by something unknown.
    """
    parts = _candidates(root)
    if key is not None:
        chosen = [(path, part) for path, part in parts if ".".join(path) == key]
        if len(chosen) != 1:
            raise UnsupportedModelError(
                f"{where}: no weights under {key!r}; there are {_listed(parts)}"
            )
        return _found(chosen[0][1], code, where)
    usual = [path for path, _ in parts if path and path[-1].casefold() in _USUAL]
    # Tensors beside a part that bears a usual name (a mean, the best loss) are not the model's.
    parts = [p for p in parts if not any(_above(p[0], path) for path in usual)]
    if not parts:
        raise UnsupportedModelError(f"{where}: no weights in it; it holds {_summary(root)}")
    if len(parts) == 1:
        return _found(parts[0][1], code, where)
    if usual or any(is_module(part) for _, part in parts):
        raise UnsupportedModelError(
            f"{where}: ambiguous, several parts could be the model's weights: {_listed(parts)};"
            " say which with key="
        )
    return _merged(parts, code, where)


def _above(path: _Path, other: _Path) -> bool:
    return len(path) < len(other) and other[: len(path)] == path


def _merged(parts: list[tuple[_Path, Any]], code: Mapping[str, str], where: str) -> Found:
    """Several state_dicts side by side: one, its names preceded by theirs."""
    found = Found()
    common = len(_common([path for path, _ in parts]))
    for path, part in parts:
        inner = _found(part, code, where)
        ahead = ".".join((*path[common:], ""))
        for name, leaf in inner.leaves.items():
            if ahead + name in found.leaves:
                raise UnsupportedModelError(f"{where}: two tensors are named {ahead + name!r}")
            found.leaves[ahead + name] = leaf
    return found


def _common(paths: list[_Path]) -> _Path:
    shared = paths[0]
    for path in paths[1:]:
        same = 0
        while same < min(len(shared), len(path)) and shared[same] == path[same]:
            same += 1
        shared = shared[:same]
    return shared


def _listed(parts: list[tuple[_Path, Any]]) -> str:
    return ", ".join(repr(".".join(path) or "the whole") for path, _ in parts[:12]) or "none"


def _summary(root: Any) -> str:
    items = _items(root)
    if items is None:
        return brief(root)
    names = ", ".join(f"{brief(name)!r}" for name in list(items)[:12])
    return f"a dictionary of {names or 'nothing'}"


def _items(value: Any) -> dict[Any, Any] | None:
    """The items of a dictionary, of an object like one, or of a list."""
    if type(value) is dict:
        return value
    if isinstance(value, Record) and not is_module(value):
        return value.entries or None
    if type(value) in (list, tuple) and len(value) <= 10_000:
        return {str(index): item for index, item in enumerate(value)}
    return None


def _is_leaf(name: Any, value: Any) -> bool:
    if isinstance(value, Values):
        return not value.scalar and value.array() is not None
    if isinstance(value, tuple):
        return type(name) is str and name.endswith("_packed_params") and _is_packed(value)
    return isinstance(value, TensorRef) or _is_packed(value)


def _is_other(value: Any) -> bool:
    """Whether it is a tensor without a dense array of its own."""
    return isinstance(value, Record) and value.kind.module == "torch._utils"


def _is_packed(value: Any) -> bool:
    """Packed weights of a quantised layer."""
    if isinstance(value, Record):
        return value.kind.name in ("ScriptObject", "CellParamsBase", "LinearPackedParamsBase")
    if type(value) is not tuple or len(value) != 2 or not isinstance(value[0], TensorRef):
        return False
    return value[1] is None or isinstance(value[1], TensorRef)


def _candidates(root: Any) -> list[tuple[_Path, Any]]:
    """State_dicts and modules, with the keys that lead to them, outermost first."""
    found: list[tuple[_Path, Any]] = []
    pending: list[tuple[_Path, Any]] = [((), root)]
    seen: set[int] = set()
    for path, value in pending:
        if id(value) in seen or len(path) > _DEEPEST:
            continue
        seen.add(id(value))
        if is_module(value):
            found.append((path, value))
            continue
        items = _items(value)
        if not items or "param_groups" in items:
            continue
        if any(_is_leaf(name, item) or _is_other(item) for name, item in items.items()):
            found.append((path, value))
        for name, item in items.items():
            if (
                type(name) is str
                and not _BESIDE.search(name.casefold())
                and not _is_leaf(name, item)
            ):
                pending.append(((*path, name), item))
    return found


def _found(part: Any, code: Mapping[str, str], where: str) -> Found:
    if is_module(part):
        return read_module(part, code, where)
    found = Found()
    for name, value in (_items(part) or {}).items():
        if type(name) is not str:
            raise ModelFormatError(f"{where}: a weight is named by {brief(name)!r}, not by text")
        if _is_leaf(name, value):
            found.leaves[name] = value
        elif _is_other(value):
            raise UnsupportedModelError(
                f"{where}: {name!r} is a tensor made by {value.kind}; accepted: dense tensors with"
                " their data. Convert it with .to_dense() and save it again"
            )
        elif isinstance(value, Record) and not name.endswith(_LAST) and not value.entries:
            raise UnsafeFileError(
                f"{where}: {name!r} stands among the weights, but is made by {value.kind}, which"
                " is not known here"
            )
    return found
