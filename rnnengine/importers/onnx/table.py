"""The table of operator conversions and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rnnengine.importers.onnx.builder import Call

__all__ = ["CONVERTERS", "REFUSED", "converter", "emit_same"]

REFUSED: dict[str, str] = {
    "SequenceConstruct": "sequences of tensors are not supported",
    "Optional": "optional values are not supported",
}
"""Operators that are refused for a reason worth saying."""

CONVERTERS: dict[str, Callable[[Call], None]] = {}
"""How each operator is converted; filled by the modules that do it."""


def converter(*ops: str) -> Callable[[Callable[[Call], None]], Callable[[Call], None]]:
    """Register a function as the conversion of the named operators."""

    def register(function: Callable[[Call], None]) -> Callable[[Call], None]:
        CONVERTERS.update(dict.fromkeys(ops, function))
        return function

    return register


def emit_same(
    call: Call, attrs: Mapping[str, Any] | None = None, *, inputs: int | None = None
) -> None:
    """Emit the operator of the same name."""
    call.emit(call.op, call.inputs[:inputs], call.outputs, attrs)
