"""Operators. The module of an operator is imported when the registry is first asked for it."""

from typing import TYPE_CHECKING, Any

from rnnengine.ops.registry import NotAlongTime, Op, get, names
from rnnengine.ops.types import Inference, infer_types

if TYPE_CHECKING:
    from rnnengine.ops.oracle import evaluate

__all__ = ["Inference", "NotAlongTime", "Op", "evaluate", "get", "infer_types", "names"]


def __getattr__(name: str) -> Any:
    """Import the oracle when it is asked for; a program that only runs models does not need it."""
    if name != "evaluate":
        raise AttributeError(f"module 'rnnengine.ops' has no attribute {name!r}")
    from rnnengine.ops.oracle import evaluate

    return evaluate
