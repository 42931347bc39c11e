"""load: from a file to a model in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

from rnnengine._c import cpu
from rnnengine.errors import RNNEngineError, UnsupportedModelError
from rnnengine.importers import model_inputs, parse_graph, read_source
from rnnengine.model import Model, SizedModel

__all__ = ["cpu_info", "load"]


def load(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    constants: Mapping[str, Any] | None = None,
    external_data: str | os.PathLike[str] | None = None,
) -> Model:
    """Load a model file; its format is told by its content.

    Parameters
    ----------
    source : path, bytes or binary file
        An ONNX model.
    constants : mapping of str to array, optional
        Inputs to fix at load, by name.
    external_data : path, optional
        Directory that the file's external tensors may be read from; without it such a file is
        refused.

    Returns
    -------
    Model
        Compiled once for all sizes; where the model's arithmetic on symbolic sizes has no general
        answer, compiled when it runs, for the sizes of the inputs (the last 8 sets are kept).

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
    content, name = read_source(source)
    fixed = dict(constants or {})
    parse = partial(parse_graph, content, name, constants=fixed, external_data=external_data)
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


def cpu_info() -> dict[str, Any]:
    """Describe the CPU: ``isa`` in use, those ``available``, the ``features`` found."""
    return {"isa": cpu.chosen(), "available": cpu.available(), "features": list(cpu.features())}
