"""How operators become instructions; which module has which is in :mod:`rnnengine.ops.families`.

An emission is ``emit(out: Emitter, node: Node)``. A place rule is ``place(node, types, view)``:
given where the node's output must be, where each input would have to be to need no copy.
"""
