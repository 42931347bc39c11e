"""ONNX models: protobuf parsing alone, every attribute consumed or refused."""

from rnnengine.importers.onnx import (
    conv,
    layout,
    normalize,
    ops,
    qlinear,
    quantised,
    recurrent,
    reduce,
    select,
)
from rnnengine.importers.onnx.graph import import_onnx, onnx_inputs

__all__ = [
    "conv",
    "import_onnx",
    "layout",
    "normalize",
    "onnx_inputs",
    "ops",
    "qlinear",
    "quantised",
    "recurrent",
    "reduce",
    "select",
]
