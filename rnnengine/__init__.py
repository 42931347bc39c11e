"""rnnengine: CPU inference for recurrent networks, whole sequences and streams."""

from rnnengine.errors import (
    CPUError,
    ModelFormatError,
    RNNEngineError,
    ShapeError,
    StreamBusyError,
    StreamStateLost,
    UnsafeFileError,
    UnsupportedModelError,
)
from rnnengine.loading import cpu_info, load
from rnnengine.model import Model, TensorInfo
from rnnengine.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "CPUError",
    "Model",
    "ModelFormatError",
    "RNNEngineError",
    "ShapeError",
    "Stream",
    "StreamBusyError",
    "StreamStateLost",
    "TensorInfo",
    "UnsafeFileError",
    "UnsupportedModelError",
    "cpu_info",
    "load",
]
