"""Recurrent cells: configuration and weights to canonical arrays, those of cuDNN included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers import gates
from rnnengine.importers.keras import config
from rnnengine.importers.keras.activations import activation, recurrent_default
from rnnengine.importers.keras.context import Context
from rnnengine.importers.keras.hdf5 import Array
from rnnengine.importers.keras.names import Params, Slots
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version
from rnnengine.ops.recurrent import Activation

__all__ = [
    "CELLS",
    "COUNT",
    "Cell",
    "arranged",
    "cell_slots",
    "inner_cell",
    "read_cell",
    "read_cells",
]

CELLS = {
    "SimpleRNN": "RNN",
    "SimpleRNNCell": "RNN",
    "LSTM": "LSTM",
    "LSTMCell": "LSTM",
    "CuDNNLSTM": "LSTM",
    "GRU": "GRU",
    "GRUCell": "GRU",
    "CuDNNGRU": "GRU",
}
"""Class of a cell, or of a layer of one cell: the canonical layer."""

COUNT = {"RNN": 1, "LSTM": 4, "GRU": 3}
"""How many blocks of columns the weights of a cell have."""


@dataclass(frozen=True)
class Cell:
    """One cell in canonical form: W [G*H, I], R [G*H, H], biases [G*H]."""

    op: str
    units: int
    activations: tuple[Activation, ...]
    w: Array
    r: Array
    b_w: Array | None
    b_r: Array | None
    reset_after: bool = False

    @property
    def states(self) -> int:
        """How many states it carries."""
        return 2 if self.op == "LSTM" else 1


def cell_slots(cell: Layer, version: Version) -> Slots:
    """Weights of a cell or of stacked cells."""
    if cell.kind == "StackedRNNCells":
        inner = _stacked(cell, version)
        return Slots(
            (),
            tuple((str(i), f"cells*{c.bare}", cell_slots(c, version)) for i, c in enumerate(inner)),
        )
    if cell.kind not in CELLS:
        raise UnsupportedModelError(
            f"{cell.where}: not a cell that is supported; accepted: StackedRNNCells, "
            f"{', '.join(sorted(CELLS))}"
        )
    if version.major < 2 and cell.kind in gates.KERAS_1 and not _fused(cell):
        letters = gates.KERAS_1[cell.kind]
        roles = [f"{role}.{gate}" for gate in letters for role in ("kernel", "recurrent", "bias")]
        return Slots(tuple((role, True) for role in roles))
    bias = cell.kind.startswith("CuDNN") or cell.config.get("use_bias", True)
    return Slots(
        tuple((r, True) for r in ("kernel", "recurrent_kernel", *(["bias"] if bias else [])))
    )


def _fused(cell: Layer) -> bool:
    """Keras 1 kept one matrix for all gates where it was made for a GPU."""
    return cell.config.get("consume_less") == "gpu"


def _stacked(cell: Layer, version: Version) -> list[Layer]:
    cells = cell.config.get("cells")
    if not isinstance(cells, list) or not 0 < len(cells) <= 1000:
        raise ModelFormatError(f"{cell.where}: 'cells' is {str(cells)[:80]}; expected a list")
    return [config.layer(c, version, f"{cell.where}, cell {i}") for i, c in enumerate(cells)]


def inner_cell(layer: Layer, version: Version) -> Layer:
    """The cell of an RNN layer; a layer of one cell is its own."""
    if layer.kind != "RNN":
        return layer
    return config.layer(layer.config.get("cell"), version, f"the cell of {layer.where}")


def read_cells(ctx: Context, inputs: int) -> list[Cell]:
    """The cells of a recurrent layer, the first to see the input first."""
    cell = inner_cell(ctx.layer, ctx.version)
    inside = ctx.inner("cell", cell)
    if cell.kind != "StackedRNNCells":
        return [read_cell(inside, inputs)]
    inside.only("reverse_state_order", False, None)
    cells: list[Cell] = []
    for i, one in enumerate(_stacked(cell, ctx.version)):
        size = cells[-1].units if cells else inputs
        cells.append(read_cell(inside.inner(str(i), one, f".{i}"), size))
    return cells


def read_cell(ctx: Context, inputs: int) -> Cell:
    """One cell from its configuration and weights.

    Raises
    ------
    ModelFormatError
        A weight is missing or does not fit the configuration.
    UnsupportedModelError
        An activation that is not known.
    """
    if ctx.layer.kind not in CELLS:
        raise UnsupportedModelError(
            f"{ctx.where}: not a cell that is supported; accepted: {', '.join(sorted(CELLS))}"
        )
    op = CELLS[ctx.layer.kind]
    units = ctx.integer("units")
    if ctx.version.major < 2 and "kernel.h" not in ctx.params.own:
        ctx.params = _joined(ctx.params, op)
    count = COUNT[op]
    kernel = ctx.weight("kernel", inputs, count * units)
    recurrent = ctx.weight("recurrent_kernel", units, count * units)
    bias = ctx.params.own.get("bias")
    _check_bias(ctx, op, units, bias)
    reset_after = op == "GRU" and _reset_after(ctx, units, bias)
    arrays = arranged(op, kernel, recurrent, bias)
    return Cell(op, units, _activations(ctx, op), *arrays, reset_after)


def arranged(
    op: str, kernel: Array, recurrent: Array, bias: Array | None
) -> tuple[Array, Array, Array | None, Array | None]:
    """W, R and the biases of input and state in canonical form, from any layout since Keras 2.

    Parameters
    ----------
    op : str
        ``LSTM``, ``GRU`` or ``RNN``.
    kernel, recurrent : array [I, G*H] and [H, G*H]
        A bias of twice their columns in one row says that the blocks are those of cuDNN.
    bias : array [G*H], [2, G*H], [2*G*H] or None
    """
    count, units = COUNT[op], recurrent.shape[0]
    if bias is not None and op != "RNN" and bias.shape == (2 * count * units,):
        kernel, recurrent = _of_cudnn(kernel, count), _transposed(recurrent, count)
        bias = bias.reshape(2, -1)
        bias = bias[0] + bias[1] if op == "LSTM" else bias
    order = gates.permutation(gates.KERAS, op)
    sides = (None, None) if bias is None else (bias, None) if bias.ndim == 1 else tuple(bias)
    b_w, b_r = (None if side is None else _rows(side, order) for side in sides)
    return _rows(kernel.T, order), _rows(recurrent.T, order), b_w, b_r


def _activations(ctx: Context, op: str) -> tuple[Activation, ...]:
    outer = activation(ctx.get("activation", "tanh"), ctx.version, ctx.where)
    if op == "RNN":
        return (outer,)
    cudnn = ctx.layer.kind.startswith("CuDNN")
    default = "sigmoid" if cudnn else recurrent_default(ctx.version)
    inner = activation(
        ctx.get("recurrent_activation", default), ctx.version, ctx.where, "recurrent_activation"
    )
    return (inner, outer, outer) if op == "LSTM" else (inner, outer)


def _joined(params: Params, op: str) -> Params:
    """Twelve or nine arrays of Keras 1 to three."""
    letters = {"LSTM": gates.KERAS["LSTM"], "GRU": gates.KERAS["GRU"]}.get(op, "")
    if not letters or f"kernel.{letters[0]}" not in params.own:
        return params
    own = {
        name: np.concatenate([params.own[f"{role}.{gate}"] for gate in letters], axis=-1)
        for name, role in (
            ("kernel", "kernel"),
            ("recurrent_kernel", "recurrent"),
            ("bias", "bias"),
        )
    }
    return Params(own)


def _rows(value: Array, order: Sequence[int]) -> Array:
    """Blocks of the first axis in another order."""
    blocks = np.split(value, len(order), axis=0)
    return np.ascontiguousarray(np.concatenate([blocks[i] for i in order], axis=0))


def _of_cudnn(kernel: Array, count: int) -> Array:
    """Each gate's block [I, H] holds the matrix of cuDNN, [H, I], row after row."""
    blocks = np.split(kernel, count, axis=1)
    return np.concatenate([b.T.reshape(b.shape, order="F") for b in blocks], axis=1)


def _transposed(kernel: Array, count: int) -> Array:
    return np.concatenate([block.T for block in np.split(kernel, count, axis=1)], axis=1)


def _reset_after(ctx: Context, units: int, bias: Array | None) -> bool:
    """What the configuration says, else what the bias shows, else the default of the version."""
    declared = ctx.get("reset_after")
    if ctx.layer.kind == "CuDNNGRU":
        declared = True
    shown = None if bias is None else bias.shape != (3 * units,)
    if declared is None and shown is None:
        return ctx.version.major >= 3 or (ctx.version.tf and ctx.version.major >= 2)
    if declared is not None and shown is not None and bool(declared) != shown:
        raise ModelFormatError(
            f"{ctx.where}: reset_after is {declared}, but the bias has shape "
            f"{None if bias is None else bias.shape}; expected "
            f"{(2, 3 * units) if declared else (3 * units,)}"
        )
    return bool(shown if declared is None else declared)


def _check_bias(ctx: Context, op: str, units: int, bias: Array | None) -> None:
    """Refuse a bias of a shape that no Keras wrote for the cell."""
    rows = COUNT[op] * units
    if bias is None:
        return
    if op != "RNN" and bias.shape == (2 * rows,):
        ctx.weight("bias", 2 * rows)
    elif op == "GRU" and bias.ndim == 2:
        ctx.weight("bias", 2, rows)
    else:
        ctx.weight("bias", rows)
