"""load: from a file to a model in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from rnnengine._c import cpu
from rnnengine.errors import CPUError, ModelFormatError, RNNEngineError, UnsupportedModelError
from rnnengine.graph import Graph, UndecidedError, Value
from rnnengine.importers import model_inputs, module_content, parse_graph, read_source
from rnnengine.model import Model, SizedModel

if TYPE_CHECKING:
    from rnnengine.layers import Architecture, Replacement

__all__ = ["cpu_info", "from_torch", "load"]

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
    key: str | None = None,
    verify: bool = False,
    mmap: bool = False,
    threads: int | None = None,
    batch: str | None = None,
    time: str | None = None,
    compute_type: str | None = None,
    keep: Iterable[str] = (),
) -> Model:
    """Load a model file; its format is told by its content.

    Parameters
    ----------
    source : path, bytes or binary file
        A ``.rnne`` file, an ONNX model, a Keras model with its configuration, a ``.pt2`` file of
        torch.export, or a file of weights: PyTorch, safetensors, npz.
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
    key : str, optional
        Which object of a PyTorch file holds the weights, where several could, for example
        ``"ema"``; keys of nested dictionaries are joined by dots.
    verify : bool
        Hold the data of a ``.rnne`` file against the hash in it; structure is always checked.
    mmap : bool
        Map a ``.rnne`` file instead of copying it. Its weights are then read from the disk as they
        are needed, and processes share their memory. The file must not be changed in place or cut
        short while the model lives: numbers would change, or the process would end with SIGBUS.
        Replacing it by another file of the same name, as :func:`save` does, is harmless. The
        default is a private copy, which nothing outside the process can change.
    threads : int, optional
        Threads that a call of the model may use; default ``RNNENGINE_THREADS``, else 1. The process
        has one pool of workers: a call that finds it taken runs on its own thread. The bits are the
        same whatever the number.
    batch : {None, "dynamic"}
        ``"dynamic"`` lets a model that was exported for one batch size run at any. It is refused,
        with the node that is in the way, unless each row of every result depends on the same row of
        the inputs alone.
    time : {None, "dynamic"}
        The same for the number of time steps that ``run`` takes; a stream takes any number of steps
        without it. A length that the export computed with as a plain number (a sum over the steps
        divided by 50) cannot be told from any other number and stays: compare with the framework
        at another length.
    compute_type : str, optional
        How products with constant weights are computed, in recurrent layers, matrix products and
        convolutions of one group: ``"bfloat16"`` or ``"float16"`` (weights of 16 bits, float32
        arithmetic), ``"int8"`` (weights of 8 bits, activations of 16), ``"int8_fast"`` (both of 8
        bits), ``"auto"`` (for each layer what is fastest on this machine, never slower than
        float32), or ``"float32"``. The model holds these weights alone; only one that is compiled
        for each set of sizes keeps its file as well. Default: as the file has them.
        ``Model.choices`` says what became of each layer.
    keep : iterable of str
        Layers that stay in float32: names as ``Model.choices`` has them, patterns with ``*`` and
        ``?``, or what stands in front of a dot or slash in a name.

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
    free = []
    for word, said in (("batch", batch), ("time", time)):
        if said not in (None, "dynamic"):
            raise ValueError(f"{word} is {said!r}; accepted: None, 'dynamic'")
        if said is not None:
            free.append(word)
    lowered = _lowered(compute_type, keep)
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
        key=key,
        verify=verify,
    )
    with _told(name):
        if free:
            return Model(parse(), threads, free=free, **lowered)

        def inputs() -> tuple[Value, ...]:
            return model_inputs(content, name, constants=fixed, replacements=replacements)

        return _made(parse, inputs, threads, lowered)


def _lowered(compute_type: str | None, keep: Iterable[str]) -> dict[str, Any]:
    """Arguments of a model whose layers have a compute type; refuse what nothing could mean."""
    if compute_type is None and not keep:
        return {}
    from rnnengine.compiler.lowering import check_request  # noqa: PLC0415 - few models need it

    return {"compute_type": compute_type, "keep": check_request(compute_type, keep)}


def _made(
    parse: Callable[..., Graph],
    inputs: Callable[[], tuple[Value, ...]],
    threads: int | None,
    lowered: Mapping[str, Any],
) -> Model:
    """Make a model for all sizes or, where its arithmetic has no general answer, for each."""
    try:
        return Model(parse(), threads, **lowered)
    except UnsupportedModelError as error:
        try:
            found = inputs()
        except (RNNEngineError, ImportError):  # no such model, or no package that could tell
            raise error from None
        sized = SizedModel.attempt(
            lambda sizes: parse(sizes=sizes), found, str(error), threads, **lowered
        )
        if sized is None:
            raise
        return sized


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Name the file in front of every refusal."""
    try:
        yield
    except CPUError:
        raise
    except RNNEngineError as error:
        if not str(error).startswith(name):
            error.args = (f"{name}: {error}",)
        raise
    except _CONTRADICTIONS as error:
        raise ModelFormatError(
            f"{name}: the graph contradicts itself ({type(error).__name__}: {str(error)[:200]})"
        ) from error


def from_torch(
    module: Any,
    example_inputs: Any,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    threads: int | None = None,
    compute_type: str | None = None,
    keep: Iterable[str] = (),
) -> Model:
    """Make a model of a ``torch.nn.Module`` in memory, by ``torch.export``.

    Parameters
    ----------
    module : torch.nn.Module
        In float32, after ``.eval()``. It is not changed.
    example_inputs : tensor or tuple of tensors
        Inputs of its ``forward``. Sizes of 2 and more stay open as far as the module allows;
        PyTorch takes a size of 1 for fixed.
    kwargs : mapping of str to tensor, optional
        Keyword arguments of its ``forward``.
    dynamic_shapes : optional
        As ``torch.export.export`` takes it, in place of all axes open.
    threads : int, optional
    compute_type : str, optional
    keep : iterable of str
        As in :func:`load`.

    Returns
    -------
    Model
        Inputs bear the names of ``forward``. Outputs bear their key where a dictionary is returned;
        ``<layer>.output``, ``.h_n`` and ``.c_n`` where a recurrent layer computes them; and the
        name of the operator otherwise.

    Raises
    ------
    UnsupportedModelError
        ``torch.export`` cannot follow the module, or it calls an operator, or has an argument,
        that is not supported; names node, operator and argument.
    """
    lowered = _lowered(compute_type, keep)
    content, name = module_content(
        module, example_inputs, kwargs=kwargs, dynamic_shapes=dynamic_shapes
    )
    with _told(name):
        parse = partial(parse_graph, content, name)
        return _made(parse, lambda: model_inputs(content, name), threads, lowered)


def cpu_info() -> dict[str, Any]:
    """Describe the CPU: ``isa`` in use, those ``available``, the ``features`` found."""
    return {"isa": cpu.chosen(), "available": cpu.available(), "features": list(cpu.features())}
