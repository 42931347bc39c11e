"""rnnengine: CPU inference for recurrent networks, whole sequences and streams.

The parts are imported when they are first asked for: a program that only loads and runs a model
does not pay for the readers of other formats, the layers of descriptions or the exporter.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnnengine._version import VERSION
from rnnengine.errors import (
    CPUError,
    FrameworkError,
    ModelFormatError,
    RNNEngineError,
    ShapeError,
    StreamBusyError,
    StreamStateLost,
    UnsafeFileError,
    UnsupportedModelError,
)

if TYPE_CHECKING:
    from rnnengine.exporting import export_onnx
    from rnnengine.inspecting import Inspection, inspect
    from rnnengine.layers import (
        ELU,
        GELU,
        GRU,
        LSTM,
        RNN,
        SELU,
        Add,
        AvgPool1d,
        BatchNorm1d,
        BatchNormalization,
        Concatenate,
        Conv1D,
        Conv1d,
        Dense,
        Dropout,
        Embedding,
        Hardsigmoid,
        Identity,
        Input,
        LayerCall,
        LayerNorm,
        LayerNormalization,
        LeakyReLU,
        Linear,
        LogSoftmax,
        MaxPool1d,
        Mish,
        Multiply,
        ReLU,
        Sequential,
        Sigmoid,
        SiLU,
        Softmax,
        Softplus,
        Softsign,
        Tanh,
        Value,
    )
    from rnnengine.loading import cpu_info, from_torch, load
    from rnnengine.model import Model, TensorInfo
    from rnnengine.saving import save
    from rnnengine.stream import Stream
    from rnnengine.validation import Validation, validate

__version__ = VERSION

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "Add",
    "AvgPool1d",
    "BatchNorm1d",
    "BatchNormalization",
    "CPUError",
    "Concatenate",
    "Conv1D",
    "Conv1d",
    "Dense",
    "Dropout",
    "Embedding",
    "FrameworkError",
    "Hardsigmoid",
    "Identity",
    "Input",
    "Inspection",
    "LayerCall",
    "LayerNorm",
    "LayerNormalization",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool1d",
    "Mish",
    "Model",
    "ModelFormatError",
    "Multiply",
    "RNNEngineError",
    "ReLU",
    "Sequential",
    "ShapeError",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Stream",
    "StreamBusyError",
    "StreamStateLost",
    "Tanh",
    "TensorInfo",
    "UnsafeFileError",
    "UnsupportedModelError",
    "Validation",
    "Value",
    "cpu_info",
    "export_onnx",
    "from_torch",
    "inspect",
    "load",
    "save",
    "validate",
]

_PARTS = {
    "exporting": "export_onnx",
    "inspecting": "Inspection inspect",
    "layers": (
        "ELU GELU GRU LSTM RNN SELU Add Concatenate Dense Dropout Embedding Hardsigmoid "
        "AvgPool1d BatchNorm1d BatchNormalization Conv1D Conv1d LayerNorm LayerNormalization "
        "MaxPool1d "
        "Identity Input LayerCall LeakyReLU Linear LogSoftmax Mish Multiply ReLU Sequential "
        "Sigmoid SiLU Softmax Softplus Softsign Tanh Value"
    ),
    "loading": "cpu_info from_torch load",
    "model": "Model TensorInfo",
    "saving": "save",
    "stream": "Stream",
    "validation": "Validation validate",
}
_PART_OF = {name: part for part, names in _PARTS.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import the part that a public name stands in."""
    if name not in _PART_OF:
        raise AttributeError(f"module 'rnnengine' has no attribute {name!r}")
    value = getattr(import_module(f"rnnengine.{_PART_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, imported or not."""
    return sorted({*globals(), *_PART_OF})
