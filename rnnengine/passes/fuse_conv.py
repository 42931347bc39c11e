"""Join a convolution with the bias and activation after it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnengine.graph import Graph, Node, TensorType, fresh
from rnnengine.ops import infer_types
from rnnengine.ops.elementwise import UNARY, unary_activation
from rnnengine.ops.recurrent.activations import Activation
from rnnengine.ops.registry import Array
from rnnengine.ops.sizes import element

__all__ = ["fuse_conv"]

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def fuse_conv(graph: Graph) -> Graph:
    """Absorb into Conv and ConvTranspose what only they produce or read.

    An Add of one constant for each channel becomes the bias, where there is none, and starts the
    sum; a unary operator or PRelu becomes the activation.
    """
    if not any(node.op in _CONVOLUTIONS for node in graph.nodes):
        return graph
    fuser = _Fuser(graph)
    for node in graph.nodes:
        if node.op in _CONVOLUTIONS:
            fuser.join(node)
    nodes = tuple(fuser.joined.get(id(n), n) for n in graph.nodes if id(n) not in fuser.absorbed)
    return graph.with_(nodes=nodes, constants=fuser.constants)


class _Fuser:
    """Collects the joined nodes, by the identity of the convolution, and those they absorb."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types = infer_types(graph)
        self.constants: dict[str, Array] = dict(graph.constants)
        self.joined: dict[int, Node] = {}
        self.absorbed: set[int] = set()
        self._readers = graph.consumers()
        self._taken = set(self.types)

    def join(self, node: Node) -> None:
        """Absorb everything around one convolution."""
        inputs: list[str | None] = [*node.inputs, None, None][:4]
        attrs = dict(node.attrs)
        result = node.outputs[0]
        follower = self._only_reader(result)
        if follower is not None and inputs[2] is None and follower.op == "Add":
            bias = self._per_channel(follower, result, _channels(self.types, result))
            if bias is not None:
                inputs[2] = self._constant(f"{node.name}.B", bias)
                result = self._absorb(follower)
                follower = self._only_reader(result)
        if (
            follower is not None
            and "activation" not in attrs
            and self._activation(node, follower, result, inputs, attrs)
        ):
            result = self._absorb(follower)
        while inputs and inputs[-1] is None:
            inputs.pop()
        self.joined[id(node)] = Node(node.op, node.name, tuple(inputs), (result,), attrs)

    def _only_reader(self, name: str | None) -> Node | None:
        found = self._readers.get(name or "", [])
        return found[0] if len(found) == 1 and name not in self.graph.outputs else None

    def _absorb(self, node: Node) -> str | None:
        self.absorbed.add(id(node))
        return node.outputs[0]

    def _constant(self, base: str, value: Array) -> str:
        name = fresh(base, self._taken)
        self.constants[name] = np.ascontiguousarray(value, np.float32)
        return name

    def _per_channel(self, node: Node, product: str | None, channels: int) -> Array | None:
        """Constant of one number for each channel that an Add puts on a result [N, C, ..]."""
        others = [name for name in node.inputs if name != product]
        value = self.constants.get(others[0] or "") if len(others) == 1 else None
        rank = self.types[product or ""].rank
        return None if value is None else _vector(value, rank, channels)

    def _activation(
        self,
        node: Node,
        follower: Node,
        result: str | None,
        inputs: list[str | None],
        attrs: dict[str, object],
    ) -> bool:
        if follower.op in UNARY and follower.inputs == (result,):
            attrs["activation"] = unary_activation(follower.op, follower.attrs)
            return True
        if follower.op != "PRelu" or follower.inputs[0] != result:
            return False
        slope = self.constants.get(element(follower.inputs, 1) or "")
        if slope is None:
            return False
        if slope.size == 1 and slope.dtype == np.float32:
            attrs["activation"] = Activation("leaky_relu", float(slope.reshape(())))
            return True
        vector = _vector(slope, self.types[result or ""].rank, _channels(self.types, result))
        if vector is not None:
            inputs[3] = self._constant(f"{node.name}.slope", vector)
        return vector is not None


def _channels(types: Mapping[str, TensorType], name: str | None) -> int:
    size = types[name or ""].shape[1]
    assert isinstance(size, int)
    return size


def _vector(value: Array, rank: int, channels: int) -> Array | None:
    """Return [C] of a constant that broadcasts along the channels of [N, C, ..] alone."""
    shape = (1,) * (rank - value.ndim) + value.shape
    if value.dtype != np.float32 or len(shape) != rank or value.ndim > rank:
        return None
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    if shape[1] not in (1, channels):
        return None
    return np.broadcast_to(value.reshape(-1), (channels,))
