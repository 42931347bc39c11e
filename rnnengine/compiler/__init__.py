"""Graph to plan: instructions emitted, memory laid out, weights packed, ports described."""

from rnnengine.compiler.compile import Compiled, compile_graph

__all__ = ["Compiled", "compile_graph"]
