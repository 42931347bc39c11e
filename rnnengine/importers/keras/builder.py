"""The graph under construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rnnengine.graph import Graph, Node, TensorType, Value, fresh
from rnnengine.importers.keras.hdf5 import Array
from rnnengine.ops.types import Inference

if TYPE_CHECKING:
    from rnnengine.importers.keras.context import Context, Tensor
    from rnnengine.importers.keras.kinds import Convert

__all__ = ["Builder"]


class Builder:
    """Collects constants and nodes, and infers types as they come.

    Attributes
    ----------
    nodes, constants, inference
        What there is so far.
    network : callable(context, inputs) -> list of Tensor
        Converts a network inside the model; set by whoever converts the model.
    """

    def __init__(self, inputs: Sequence[Value], taken: set[str]) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.inference = Inference(inputs, {}, largest=1 << 12)
        self.network: Convert = _no_network
        self._constants: dict[str, list[str]] = {}
        self._masks: dict[tuple[Any, ...], str] = {}
        self._taken = set(taken)
        self._nodes: set[str] = set()

    def fresh(self, base: str) -> str:
        """Return an unused value name."""
        return fresh(base, self._taken)

    def type(self, name: str) -> TensorType:
        """Type of a value."""
        return self.inference.types[name]

    def constant(self, base: str, value: Array) -> str:
        """Add a constant and return its name: the same one for the same numbers of one layer."""
        made = self._constants.setdefault(base, [])
        for name in made:
            if _same(self.constants[name], value):
                return name
        name = self.fresh(base)
        self.constants[name] = value
        self.inference.add_constant(name, value)
        made.append(name)
        return name

    def node(
        self,
        op: str,
        base: str,
        inputs: Sequence[str | None],
        outputs: Sequence[str | None],
        attrs: Mapping[str, Any],
    ) -> None:
        """Append a node of a name that is free."""
        node = Node(op, fresh(base, self._nodes), tuple(inputs), tuple(outputs), dict(attrs))
        self.inference.add(node)
        self.nodes.append(node)

    def inline(self, graph: Graph, inputs: Sequence[str], base: str) -> list[str]:
        """Append another graph, its inputs replaced by values; return what its outputs became."""
        names = dict(zip((v.name for v in graph.inputs), inputs, strict=True))
        for name, value in graph.constants.items():
            names[name] = self.constant(f"{base}.{name}", value)
        for node in graph.nodes:
            for made in filter(None, node.outputs):
                names[made] = self.fresh(f"{base}.{made}")
            ins = [None if name is None else names[name] for name in node.inputs]
            outs = [None if name is None else names[name] for name in node.outputs]
            self.node(node.op, f"{base}.{node.name}", ins, outs, node.attrs)
        return [names[name] for name in graph.outputs]

    def mask(self, op: str, base: str, inputs: Sequence[str], attrs: Mapping[str, Any]) -> str:
        """A mask; the same one for the same question."""
        key = (op, tuple(inputs), tuple(sorted(attrs.items())))
        if key not in self._masks:
            self._masks[key] = self.fresh(f"{base}.mask")
            self.node(op, f"{base}.mask", inputs, [self._masks[key]], attrs)
        return self._masks[key]


def _no_network(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    raise AssertionError("set by the importer")


def _same(a: Array, b: Array) -> bool:
    """Whether two arrays are equal bit for bit."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
