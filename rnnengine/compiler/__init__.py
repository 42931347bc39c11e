"""Graph to plan: forms chosen, instructions emitted, memory laid out, weights packed."""

from rnnengine.compiler.compile import Compiled, compile_graph
from rnnengine.compiler.form import Form
from rnnengine.compiler.forms import Source
from rnnengine.compiler.variants import Outline, Variants
from rnnengine.ops.weights import choices_of, compute_type_of

__all__ = [
    "Compiled",
    "Form",
    "Outline",
    "Source",
    "Variants",
    "choices_of",
    "compile_graph",
    "compute_type_of",
]
