"""Graph to plan: forms chosen, instructions emitted, memory laid out, weights packed."""

from rnnengine.compiler.compile import Compiled, compile_graph
from rnnengine.compiler.forms import Form, Source
from rnnengine.compiler.variants import Outline, Variants

__all__ = ["Compiled", "Form", "Outline", "Source", "Variants", "compile_graph"]
