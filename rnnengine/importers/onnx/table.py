"""The table of operator conversions and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rnnengine.importers.onnx.builder import Call

__all__ = ["CONTRIB", "CONVERTERS", "REFUSED", "converter", "emit_same", "full_name"]

CONTRIB = "com.microsoft"
"""The domain of onnxruntime's own operators, of which those of quantised models are known."""

REFUSED: dict[str, str] = {
    "SequenceConstruct": "sequences of tensors are not supported",
    "Optional": "optional values are not supported",
}
"""Operators that are refused for a reason worth saying."""

CONVERTERS: dict[str, Callable[[Call], None]] = {}
"""How each operator is converted, by its full name; filled by the modules that do it."""


def full_name(op: str, domain: str = "") -> str:
    """Name of an operator with its domain, which the default one leaves out."""
    return f"{domain}.{op}" if domain not in ("", "ai.onnx") else op


def converter(
    *ops: str, domain: str = ""
) -> Callable[[Callable[[Call], None]], Callable[[Call], None]]:
    """Register a function as the conversion of the named operators."""

    def register(function: Callable[[Call], None]) -> Callable[[Call], None]:
        CONVERTERS.update(dict.fromkeys((full_name(op, domain) for op in ops), function))
        return function

    return register


def emit_same(
    call: Call, attrs: Mapping[str, Any] | None = None, *, inputs: int | None = None
) -> None:
    """Emit the operator of the same name."""
    call.emit(call.op, call.inputs[:inputs], call.outputs, attrs)
