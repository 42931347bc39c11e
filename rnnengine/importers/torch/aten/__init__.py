"""Graphs of ``torch.export``: operators of ATen to those of the engine."""

from rnnengine.importers.torch.aten import (
    attention,
    convolution,
    elementwise,
    layout,
    linear,
    normalize,
    recurrent,
)
from rnnengine.importers.torch.aten.graph import import_program
from rnnengine.importers.torch.aten.program import read_program

FAMILIES = (attention, convolution, elementwise, layout, linear, normalize, recurrent)
"""Modules that fill the table of conversions."""

__all__ = ["FAMILIES", "import_program", "read_program"]
