"""A module in memory: exported by ``torch.export``, then read as a ``.pt2`` file is."""

from __future__ import annotations

import inspect
import io
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from rnnengine.errors import UnsupportedModelError

__all__ = ["export_module"]

_ARGUMENTS = (
    "Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, "
    "bool bidirectional, bool batch_first"
)
_SCHEMAS = {
    "lstm": f"lstm(Tensor input, Tensor[] hx, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)",
    **{
        name: f"{name}(Tensor input, Tensor hx, {_ARGUMENTS}) -> (Tensor, Tensor)"
        for name in ("gru", "rnn_tanh", "rnn_relu")
    },
}


def export_module(
    module: Any,
    example_inputs: Any,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
) -> tuple[bytes, str]:
    """A ``torch.nn.Module`` as a ``.pt2`` file, and a name; see :func:`rnnengine.from_torch`.

    ATen's recurrent operators are traced through their definition step by step, which would fix the
    number of steps. While the module is exported they go by a name of the engine's own, whose
    result shapes are known without unrolling.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch: expected a torch.nn.Module, got {type(module).__name__}")
    inputs = example_inputs if isinstance(example_inputs, Sequence) else (example_inputs,)
    where = f"<{type(module).__name__}>"
    _refuse_quantised(module, where)
    named = dict(kwargs or {})
    try:
        with _whole_layers(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            if dynamic_shapes is None:
                program = _open_program(module, tuple(inputs), named)
            else:
                program = torch.export.export(
                    module, tuple(inputs), named, dynamic_shapes=dynamic_shapes, strict=False
                )
            file = io.BytesIO()
            torch.export.save(program, file)
    except Exception as error:  # torch.export raises whatever the module's code meets
        raise UnsupportedModelError(
            f"{where}: torch.export cannot follow the module ({type(error).__name__}: "
            f"{str(error).strip()[:600]}); give it inputs it takes, or export its parts one by one"
        ) from error
    return file.getvalue(), where


def _refuse_quantised(module: Any, where: str) -> None:
    """Refuse layers of eager quantisation, whose packed weights torch.export cannot take along."""
    for path, part in module.named_modules():
        kind = type(part)
        if f"{kind.__module__}.".startswith(("torch.ao.nn.quantized.", "torch.nn.quantized.")):
            raise UnsupportedModelError(
                f"{where}: module {path!r} is {kind.__module__}.{kind.__name__}, which "
                "torch.export cannot follow; save the module or its state_dict with torch.save, "
                "and load that with rn.load(..., architecture=...)"
            )


def _open_program(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Export with all sizes open that the module leaves free.

    A size that decides a branch of the module's own code, such as the end of a loop, comes out
    limited to those that take the same branch; it is fixed instead.
    """
    import torch

    given = inspect.signature(module.forward).bind(*inputs, **named).arguments
    fixed: set[tuple[int, int]] = set()
    while True:
        shapes = _shapes_of(torch, given, fixed)
        program = torch.export.export(module, inputs, named, dynamic_shapes=shapes, strict=False)
        limited = _limited(program) - fixed
        if not limited:
            return program
        fixed |= limited


def _shapes_of(torch: Any, given: Mapping[str, Any], fixed: set[tuple[int, int]]) -> Any:
    """All axes of all tensors open but those that are fixed: (number of the tensor, axis)."""
    count = itertools.count()

    def opened(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            number = next(count)
            axes = [axis for axis in range(value.dim()) if (number, axis) not in fixed]
            return dict.fromkeys(axes, torch.export.Dim.AUTO)
        if isinstance(value, dict):
            return {k: opened(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(opened(v) for v in value)
        return None

    return {name: opened(value) for name, value in given.items()}


def _limited(program: Any) -> set[tuple[int, int]]:
    """Open sizes of the inputs that are limited: (number of the tensor, axis)."""
    limits = {str(k): v for k, v in program.range_constraints.items()}
    values = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    found: set[tuple[int, int]] = set()
    names = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    tensors = [values[name] for name in names if hasattr(values.get(name), "shape")]
    for number, tensor in enumerate(tensors):
        for axis, size in enumerate(tensor.shape):
            limit = limits.get(str(size))
            if limit is not None and (limit.lower > 2 or limit.upper < 1 << 31):
                found.add((number, axis))
    return found


@cache
def _library() -> Any:
    """The names that recurrent layers go by; made once, because PyTorch's registry is global."""
    import torch

    library = torch.library.Library("rnnengine", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        library.define(schema)
        torch.library.register_fake(f"rnnengine::{name}", _shapes(name), lib=library)
    return library


def _whole_layers() -> Any:
    """A context in which recurrent layers are recorded as one call each."""
    import torch
    from torch.overrides import TorchFunctionMode

    _library()

    class Recorder(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self,
            function: Any,
            types: Any,
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
        ) -> Any:
            name = getattr(function, "__name__", "")
            # Packed sequences have the sizes of their batches in the second place.
            if name in _SCHEMAS and len(args) == 9 and isinstance(args[3], bool):
                return getattr(torch.ops.rnnengine, name)(*args)
            return function(*args, **(kwargs or {}))

    return Recorder()


def _shapes(name: str) -> Callable[..., Any]:
    """Results of a recurrent layer as empty tensors: output, then the final states."""

    def fake(x: Any, hx: Any, *options: Any) -> Any:
        states = hx if name == "lstm" else [hx]
        width = states[0].shape[2] * (2 if options[5] else 1)
        output = x.new_empty((x.shape[0], x.shape[1], width))
        return (output, *(s.new_empty(s.shape) for s in states))

    return fake
