"""load: from a file to a model in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from rnnengine._c import cpu
from rnnengine.errors import ModelFormatError, RNNEngineError, UnsupportedModelError
from rnnengine.graph import UndecidedError
from rnnengine.importers import model_inputs, parse_graph, read_source
from rnnengine.model import Model, SizedModel

if TYPE_CHECKING:
    from rnnengine.layers import Architecture, Replacement

__all__ = ["cpu_info", "load"]

_CONTRADICTIONS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError,
    TypeError, UndecidedError, ValueError,
)  # fmt: skip
"""What the compiler meets in a graph whose attributes are not what its operators take."""


def load(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    constants: Mapping[str, Any] | None = None,
    external_data: str | os.PathLike[str] | None = None,
    architecture: Architecture | None = None,
    layer: str | None = None,
    prefix: str = "",
    replacements: Mapping[str, Replacement] | None = None,
    verify: bool = False,
    mmap: bool = False,
) -> Model:
    """Load a model file; its format is told by its content.

    Parameters
    ----------
    source : path, bytes or binary file
        A ``.rnne`` file, an ONNX model, a Keras model with its configuration, or a file of
        weights: PyTorch, safetensors, npz.
    constants : mapping of str to array, optional
        Inputs to fix at load, by name.
    external_data : path, optional
        Directory that the file's external tensors may be read from; without it such a file is
        refused.
    architecture : Layer, Tensor or mapping of str to Tensor, optional
        The network that the weights of a file without a graph belong to, for example
        ``rn.Sequential(rn.LSTM(40, 64, batch_first=True), rn.Linear(64, 2))``. Weights are matched
        by name, else by order and shape; what is ambiguous is refused with the candidates.
    layer : str, optional
        Path of the one recurrent layer of such a file that is wanted, for example
        ``"encoder.lstm"``. Its outputs are ``output``, ``h_n`` and, for the LSTM, ``c_n``.
    prefix : str, optional
        Part of such a file that ``architecture`` or ``layer`` is about.
    replacements : mapping of str to layer or function, optional
        What stands for layers of a Keras model whose code cannot be read (Lambda, classes of the
        user's own), by name or class of the layer: a description such as
        ``rn.LayerNorm(64)``, which gets the layer's weights, or ``function(layer, *inputs)``, which
        writes operators; see :mod:`rnnengine.layers.replacing`.
    verify : bool
        Hold the data of a ``.rnne`` file against the hash in it; structure is always checked.
    mmap : bool
        Map a ``.rnne`` file instead of copying it. Its weights are then read from the disk as they
        are needed, and processes share their memory. The file must not be changed in place or cut
        short while the model lives: numbers would change, or the process would end with SIGBUS.
        Replacing it by another file of the same name, as :func:`save` does, is harmless. The
        default is a private copy, which nothing outside the process can change.

    Returns
    -------
    Model

    Raises
    ------
    UnsupportedModelError
        Something the model asks for cannot be honoured; names node, attribute and value.
    ModelFormatError
        The file is malformed.
    UnsafeFileError
        The file points outside itself.
    CPUError
        ``RNNENGINE_ISA`` names an instruction set that is not available.
    """
    content, name = read_source(source, mmap=mmap)
    fixed = dict(constants or {})
    parse = partial(
        parse_graph,
        content,
        name,
        constants=fixed,
        external_data=external_data,
        architecture=architecture,
        layer=layer,
        prefix=prefix,
        replacements=replacements,
        verify=verify,
    )
    try:
        return Model(parse())
    except UnsupportedModelError as error:
        try:
            inputs = model_inputs(content, name, constants=fixed)
        except RNNEngineError:
            raise error from None
        sized = SizedModel.attempt(lambda sizes: parse(sizes=sizes), inputs, str(error))
        if sized is None:
            raise
        return sized
    except RNNEngineError:
        raise
    except _CONTRADICTIONS as error:
        raise ModelFormatError(
            f"{name}: the graph contradicts itself ({type(error).__name__}: {str(error)[:200]})"
        ) from error


def cpu_info() -> dict[str, Any]:
    """Describe the CPU: ``isa`` in use, those ``available``, the ``features`` found."""
    return {"isa": cpu.chosen(), "available": cpu.available(), "features": list(cpu.features())}
