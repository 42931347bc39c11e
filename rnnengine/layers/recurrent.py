"""Recurrent layers, in the words of torch.nn and of Keras."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from rnnengine.errors import UnsupportedModelError
from rnnengine.layers.base import Layer, describe, positive
from rnnengine.layers.words import cell_activation
from rnnengine.ops.recurrent import Activation

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]


@dataclass(frozen=True, eq=False)
class Recurrent(Layer):
    """Options of all recurrent layers.

    Parameters
    ----------
    input_size : int, optional
        Features of the input; taken from the weights where it is not given.
    hidden_size : int
    num_layers : int
    bias : bool
    batch_first : bool, optional
        Whether input and output are [batch, time, features] rather than [time, batch, features].
        Default: as in the framework whose words are used, so True with ``units`` and False without.
    dropout : float
        Between layers while training; no effect here.
    bidirectional : bool
    units : int, optional
        Keras' word for ``hidden_size``.
    return_sequences : bool
        False passes the last valid step on instead of the sequence.
    go_backwards : bool
        Keras: run from the last step to the first, and return the outputs in that order.
    merge_mode : str
        How directions are joined: ``'concat'``, ``'sum'``, ``'mul'`` or ``'ave'``.
    gate_order : str, optional
        Order of the gates in the rows of the weights, where it is not torch's: the letters i, f, g,
        o of the LSTM, and r, z, n of the GRU.
    """

    input_size: int | None = None
    hidden_size: int | None = None
    num_layers: int = 1
    _: KW_ONLY
    bias: bool = True
    batch_first: bool | None = None
    dropout: float = 0.0
    bidirectional: bool = False
    units: int | None = None
    return_sequences: bool = True
    go_backwards: bool = False
    merge_mode: str = "concat"
    gate_order: str | None = None
    inputs: ClassVar[tuple[int, int]] = (1, 2)
    results: ClassVar[tuple[str, ...]] = ("output", "h_n")
    letters: ClassVar[str]

    @property
    def gates(self) -> int:
        """How many gates the cell has."""
        return len(self.letters)

    def __post_init__(self) -> None:
        where = describe(self)
        if self.units is not None and self.hidden_size is not None:
            raise UnsupportedModelError(f"{where}: hidden_size and units are one thing; give one")
        if self.batch_first is None:
            object.__setattr__(self, "batch_first", self.units is not None)
        if self.units is not None:
            object.__setattr__(self, "hidden_size", self.units)
        positive(self, "input_size", optional=True)
        positive(self, "hidden_size")
        positive(self, "num_layers")
        if self.merge_mode not in ("concat", "sum", "mul", "ave"):
            raise UnsupportedModelError(
                f"{where}: merge_mode is {self.merge_mode!r}; accepted: 'concat', 'sum', 'mul', "
                "'ave'"
            )
        if self.go_backwards and (self.bidirectional or self.num_layers > 1):
            raise UnsupportedModelError(
                f"{where}: go_backwards is for single layers of one direction; write the layers "
                "one by one"
            )
        if self.num_layers > 1 and self.merge_mode != "concat":
            raise UnsupportedModelError(
                f"{where}: merge_mode {self.merge_mode!r} with num_layers {self.num_layers}; write "
                "the layers one by one"
            )
        if self.gate_order is not None and sorted(self.gate_order) != sorted(self.letters):
            raise UnsupportedModelError(
                f"{where}: gate_order is {self.gate_order!r}; expected the letters of "
                f"{self.letters!r} in any order"
            )
        self.cell_activations()

    @property
    def hidden(self) -> int:
        """Hidden units of each direction."""
        assert self.hidden_size is not None
        return self.hidden_size

    @property
    def directions(self) -> int:
        """How many directions the layer has: 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def width(self) -> int:
        """Features of the hidden state of each direction."""
        return self.hidden

    def cell_activations(self) -> tuple[Activation, ...]:
        """Return the activations of a direction, in the order of the canonical cell."""
        raise AssertionError("every cell defines its own")


@dataclass(frozen=True, eq=False)
class LSTM(Recurrent):
    """Long short-term memory layer; the further parameters are those of :class:`Recurrent`.

    Parameters
    ----------
    proj_size : int
        Features that the hidden state is projected to; 0 for none.
    activation, recurrent_activation : str
        Keras' words for the activation of candidate and output, and of the gates.
    """

    _: KW_ONLY
    proj_size: int = 0
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    inputs: ClassVar[tuple[int, int]] = (1, 3)
    results: ClassVar[tuple[str, ...]] = ("output", "h_n", "c_n")
    letters: ClassVar[str] = "ifgo"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.proj_size:
            positive(self, "proj_size")

    @property
    def width(self) -> int:
        """Features of the hidden state of each direction."""
        return self.proj_size or self.hidden

    def cell_activations(self) -> tuple[Activation, ...]:
        """Return the activations of the gates, of the candidate, and of the output."""
        where = describe(self)
        inner = cell_activation(self.activation, where)
        return (cell_activation(self.recurrent_activation, where), inner, inner)


@dataclass(frozen=True, eq=False)
class GRU(Recurrent):
    """Gated recurrent unit; the further parameters are those of :class:`Recurrent`.

    Parameters
    ----------
    activation, recurrent_activation : str
        Keras' words for the activation of the candidate, and of the gates.
    reset_after : bool
        Whether the reset gate multiplies the recurrent product, as torch and new Keras do, or the
        state.
    """

    _: KW_ONLY
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    reset_after: bool = True
    letters: ClassVar[str] = "rzn"

    def cell_activations(self) -> tuple[Activation, ...]:
        """Return the activations of the gates, and of the candidate."""
        where = describe(self)
        return (
            cell_activation(self.recurrent_activation, where),
            cell_activation(self.activation, where),
        )


@dataclass(frozen=True, eq=False)
class RNN(Recurrent):
    """Plain recurrent layer; the further parameters are those of :class:`Recurrent`.

    Parameters
    ----------
    nonlinearity : str
        torch's word for the activation.
    activation : str, optional
        Keras' word for it.
    """

    _: KW_ONLY
    nonlinearity: str = "tanh"
    activation: str | None = None
    letters: ClassVar[str] = "h"

    def cell_activations(self) -> tuple[Activation, ...]:
        """Return the activation of the state."""
        return (cell_activation(self.activation or self.nonlinearity, describe(self)),)
