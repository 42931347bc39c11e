"""Exceptions raised by rnnengine; this module imports nothing of the package."""

from __future__ import annotations

__all__ = [
    "CPUError",
    "FrameworkError",
    "ModelFormatError",
    "RNNEngineError",
    "ShapeError",
    "StreamBusyError",
    "StreamStateLost",
    "UnsafeFileError",
    "UnsupportedModelError",
]


class RNNEngineError(Exception):
    """Base class of every error rnnengine raises on its own account."""


class UnsupportedModelError(RNNEngineError):
    """The model asks for something that cannot be honoured exactly.

    The message names the node, the attribute or input, its value, and what would be accepted.
    """


class ModelFormatError(RNNEngineError):
    """The file is not what it claims to be: truncated, contradictory or malformed."""


class UnsafeFileError(RNNEngineError):
    """The file asks for something a model file must not do, such as opening another file."""


class ShapeError(RNNEngineError, ValueError):
    """An array's shape disagrees with what the model declares."""


class StreamBusyError(RNNEngineError):
    """Two threads used one stream at the same time."""


class StreamStateLost(RNNEngineError):
    """A stream's state cannot be restored: another model's, or damaged."""


class CPUError(RNNEngineError):
    """The requested instruction set is unknown or this machine does not have it."""


class FrameworkError(RNNEngineError):
    """A reference framework could not be run: not installed, refused the model, or crashed."""
