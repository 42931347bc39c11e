"""Graph to plan: forms chosen, instructions emitted, memory laid out, weights packed."""

from rnnengine.compiler.compile import Compiled, compile_graph
from rnnengine.compiler.forms import Form, Source

__all__ = ["Compiled", "Form", "Source", "compile_graph"]
