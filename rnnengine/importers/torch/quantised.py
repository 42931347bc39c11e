"""Packed weights of PyTorch's dynamically quantised layers, unpacked under their plain names."""

from __future__ import annotations

import re
from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.checkpoint import Module
from rnnengine.importers.torch.inert import Record
from rnnengine.importers.torch.modules import Found
from rnnengine.importers.torch.tensors import TensorRef

__all__ = ["unpacked"]

_LAYER = re.compile(r"^((?:.*\.)?)_all_weight_values\.(\d{1,4})\.param$")
_CELL = re.compile(r"^((?:.*\.)?)_packed_weight_(ih|hh)$")
_LINEAR = re.compile(r"^((?:.*\.)?)_packed_params\._packed_params$")
_PARTS = re.compile(r"^((?:.*\.)?)_packed_params\.(weight|bias)$")
_INTERNAL = re.compile(r"(^|\.)(_all_weight_values|_packed_params)(\.|$)")
_GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}


def unpacked(found: Found, where: str) -> None:
    """Replace the packed weights of quantised layers by tensors named as in float layers.

    What the quantisation was stands in the attribute ``quantized`` of the layer's module: type,
    and scale and zero point by weight where they are one number.

    Raises
    ------
    UnsupportedModelError
        It cannot be told what the weights belong to.
    """
    leaves = found.leaves
    layers: dict[str, dict[int, Any]] = {}
    plain: dict[str, Any] = {}
    paths = {m[1] for m in map(_LINEAR.match, leaves) if m}
    for name, leaf in leaves.items():
        layer, cell, linear = _LAYER.match(name), _CELL.match(name), _LINEAR.match(name)
        if layer:
            layers.setdefault(layer[1], {})[int(layer[2])] = leaf
        elif cell:
            weight, bias = _linear(leaf, f"{where}: {name!r}")
            _place(plain, found, cell[1], {f"weight_{cell[2]}": weight, f"bias_{cell[2]}": bias})
        elif linear:
            weight, bias = _linear(leaf, f"{where}: {name!r}")
            _place(plain, found, linear[1], {"weight": weight, "bias": bias})
        elif match := _PARTS.match(name):
            _place(plain, found, match[1], {match[2]: leaf})
        elif not any(name in (f"{p}scale", f"{p}zero_point") for p in _own(name, paths)):
            plain[name] = leaf
    for path, cells in layers.items():
        _place_layer(plain, found, path, cells, where)
    found.leaves = plain
    for path in [p for p in found.modules if _INTERNAL.search(p)]:
        del found.modules[path]


def _own(name: str, paths: set[str]) -> list[str]:
    """The quantised layer a name belongs to, if any."""
    path = name[: name.rfind(".") + 1]
    return [path] if path in paths else []


def _payload(leaf: Any) -> Any:
    """What a packed object holds; archives of torch.save wrap it with the name of its class."""
    if not isinstance(leaf, Record):
        return leaf
    state = leaf.state.get("")
    if type(state) is tuple and len(state) == 2 and type(state[1]) is str:
        return state[0]
    return state


def _linear(leaf: Any, where: str) -> tuple[TensorRef, TensorRef | None]:
    parts = _payload(leaf)
    if type(parts) is tuple and len(parts) == 2:
        weight, bias = parts
        if isinstance(weight, TensorRef) and (bias is None or isinstance(bias, TensorRef)):
            return weight, bias
    raise UnsupportedModelError(
        f"{where}: packed weights of an unknown form; accepted: torch.ao"
        " dynamic quantisation of LSTM, GRU, cells and Linear"
    )


def _note(tensors: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """What is worth keeping of a quantisation once the weights are numbers."""
    note: dict[str, Any] = dict(extra)
    for name, tensor in tensors.items():
        if isinstance(tensor, TensorRef) and tensor.quantised is not None:
            note["dtype"] = tensor.dtype
            note["scheme"] = tensor.quantised.scheme
            if isinstance(tensor.quantised.scale, float):
                note.setdefault("scales", {})[name] = tensor.quantised.scale
                note.setdefault("zero_points", {})[name] = tensor.quantised.zero_point
    return note


def _place(
    plain: dict[str, Any],
    found: Found,
    path: str,
    tensors: dict[str, Any],
    kind: str = "",
    extra: dict[str, Any] | None = None,
) -> None:
    for name, tensor in tensors.items():
        if tensor is not None:
            plain[path + name] = tensor
    known = found.modules.get(path[:-1])
    if known is None:
        known = Module(kind or ("Linear" if "weight" in tensors else _cell_kind(tensors)), {})
    note = _note(tensors, extra or {})
    if note:
        before = known.attrs.get("quantized", {})
        for table in ("scales", "zero_points"):
            if table in before:
                note[table] = {**before[table], **note.get(table, {})}
        found.modules[path[:-1]] = Module(known.kind, {**known.attrs, "quantized": note})


def _cell_kind(tensors: dict[str, Any]) -> str:
    """The cell, from gates times hidden size over hidden size, where that is known yet."""
    weight = tensors.get("weight_hh")
    if isinstance(weight, TensorRef) and len(weight.size) == 2 and weight.size[1]:
        return {1: "RNNCell", 3: "GRUCell", 4: "LSTMCell"}.get(weight.size[0] // weight.size[1], "")
    return ""


def _cell(leaf: Any, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights of one layer and direction, without the end of their names."""
    parts = _payload(leaf)
    if type(parts) is not tuple or len(parts) != 5 or type(parts[0]) is not str:
        raise ModelFormatError(f"{where}: packed parameters of a layer that are none")
    kind, tensors, _, flags, packed = parts
    if kind not in ("quantized_dynamic", "quantized_fp16") or not isinstance(packed, list):
        raise UnsupportedModelError(
            f"{where}: parameters packed as {kind[:40]!r}; accepted: quantized_dynamic,"
            " quantized_fp16"
        )
    if len(packed) != 2:
        raise ModelFormatError(f"{where}: {len(packed)} packed weights; expected 2")
    (w_ih, b_ih), (w_hh, b_hh) = (_linear(item, where) for item in packed)
    if kind == "quantized_dynamic":
        if not isinstance(tensors, list) or len(tensors) != 2:
            raise ModelFormatError(f"{where}: a layer without its two biases")
        b_ih, b_hh = tensors
    for bias in (b_ih, b_hh):
        if not isinstance(bias, TensorRef):
            raise ModelFormatError(f"{where}: a bias that is no tensor")
    extra: dict[str, Any] = {"kind": kind}
    if isinstance(flags, list) and flags:
        extra["reduce_range"] = bool(flags[0] == 1)
    return {"weight_ih": w_ih, "weight_hh": w_hh, "bias_ih": b_ih, "bias_hh": b_hh}, extra


def _place_layer(
    plain: dict[str, Any], found: Found, path: str, cells: dict[int, Any], where: str
) -> None:
    here = f"{where}: {path[:-1] or 'the layer'!r}"
    if sorted(cells) != list(range(len(cells))):
        raise ModelFormatError(f"{here}: packed layers {sorted(cells)[:8]}; some are missing")
    made = [_cell(cells[index], here) for index in range(len(cells))]
    both = _is_bidirectional([tensors for tensors, _ in made], found.modules.get(path[:-1]), here)
    for index, (tensors, extra) in enumerate(made):
        layer, reverse = divmod(index, 2) if both else (index, 0)
        end = f"_l{layer}" + ("_reverse" if reverse else "")
        rows = tensors["weight_hh"].size
        kind = _GATES.get(rows[0] // max(1, rows[1]), "") if len(rows) == 2 else ""
        named = {name + end: tensor for name, tensor in tensors.items()}
        _place(plain, found, path, named, kind, extra)


def _is_bidirectional(cells: list[dict[str, Any]], module: Module | None, where: str) -> bool:
    """Whether every second cell runs backwards: said by the module, or shown by the sizes."""
    said = module.attrs.get("bidirectional") if module else None
    if type(said) is bool:
        return said
    if len(cells) % 2:
        return False
    sizes = [cell["weight_ih"].size[-1] for cell in cells]
    hidden = cells[0]["weight_hh"].size[-1]
    stacked = [sizes[0], *[hidden] * (len(cells) - 1)]
    paired = [sizes[0], sizes[0], *[2 * hidden] * (len(cells) - 2)]
    if sizes == stacked == paired:
        raise UnsupportedModelError(
            f"{where}: two packed cells of one size; whether they are two layers or two directions"
            " is not in the file. Save the whole module instead of its state_dict"
        )
    return sizes == paired
