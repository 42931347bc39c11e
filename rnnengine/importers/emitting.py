"""Nodes of layers: how each layer of an architecture becomes canonical operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node, Size, TensorType, Value, as_integers, fresh
from rnnengine.importers import gates
from rnnengine.importers.weights import Group, suffixes
from rnnengine.layers import (
    GRU,
    LSTM,
    BatchNorm1d,
    Conv1d,
    Embedding,
    LayerNorm,
    Linear,
    Recurrent,
    Windowed,
    describe,
    operator,
)
from rnnengine.ops import Inference
from rnnengine.ops.recurrent import RecurrentAttrs

__all__ = ["Nodes"]

Array = np.ndarray[Any, Any]

_SMALL = 1 << 12
"""Elements of the largest value worked out while importing: shapes, no weights."""


class Nodes:
    """Nodes and constants of a graph under construction.

    Parameters
    ----------
    inputs : sequence of Value
    reserved : iterable of str
        Names of the graph's outputs, which intermediate values must not take.
    """

    def __init__(self, inputs: Sequence[Value], reserved: Sequence[str]) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.inference = Inference(inputs, {}, largest=_SMALL)
        self._values = {*(v.name for v in inputs), *reserved}
        self._names: set[str] = set()

    def constant(self, name: str, value: Array) -> str:
        """Add a float32 constant; integers with scales stay such."""
        if as_integers(value) is not None:
            return self.exact(name, value)
        with np.errstate(over="ignore"):
            return self.exact(name, np.ascontiguousarray(value, np.float32).reshape(value.shape))

    def exact(self, name: str, value: Array) -> str:
        """Add a constant of any type as it is."""
        name = fresh(name, self._values)
        self.constants[name] = value
        self.inference.add_constant(name, value)
        return name

    def add(
        self,
        op: str,
        name: str,
        inputs: Sequence[str | None],
        attrs: Mapping[str, Any] | None = None,
        outputs: int = 1,
    ) -> list[str]:
        """Append a node with new outputs and return their names."""
        name = fresh(name, self._names)
        made = [fresh(f"{name}.out{i}" if i else name, self._values) for i in range(outputs)]
        node = Node(op, name, tuple(inputs), tuple(made), dict(attrs or {}))
        self.inference.add(node)
        self.nodes.append(node)
        return made

    def alias(self, source: str, name: str) -> None:
        """Give a value the name of a graph output."""
        node = Node("Identity", fresh(name, self._names), (source,), (name,))
        self.inference.add(node)
        self.nodes.append(node)

    def type(self, name: str) -> TensorType:
        """Type of a value."""
        return self.inference.types[name]

    def _one(
        self, op: str, name: str, inputs: Sequence[str | None], attrs: Mapping[str, Any]
    ) -> str:
        return self.add(op, name, inputs, attrs)[0]

    def transpose(self, name: str, value: str, perm: tuple[int, ...]) -> str:
        """Permute axes."""
        return self._one("Transpose", f"{name}.transpose", [value], {"perm": perm})

    def part(self, name: str, value: str, axis: int, start: Size, size: Size, step: int = 1) -> str:
        """Take some elements of one axis."""
        attrs = {"axes": (axis,), "starts": (start,), "sizes": (size,), "steps": (step,)}
        return self._one("Slice", f"{name}.slice", [value], attrs)

    def joined(self, name: str, values: Sequence[str], axis: int) -> str:
        """Put values side by side; one value stays as it is."""
        if len(values) == 1:
            return values[0]
        return self._one("Concat", f"{name}.concat", values, {"axis": axis})

    def linear(self, layer: Linear, path: str, x: str, group: Group) -> str:
        """Y = activation(x W + b), torch.nn.Linear with Keras' activation."""
        weight = self.constant(f"{path}.weight", group.tensors["weight"].T)
        op, attrs = operator(layer.activation, describe(layer))
        y = self._one("MatMul", f"{path}.matmul" if layer.bias else path, [x, weight], {})
        if layer.bias:
            bias = self.constant(f"{path}.bias", group.tensors["bias"])
            y = self._one("Add", path, [y, bias], {})
        return y if op == "Identity" else self._one(op, f"{path}.activation", [y], attrs)

    def embedding(self, layer: Embedding, path: str, ids: str, group: Group) -> str:
        """Rows of the table at the ids."""
        if self.type(ids).dtype.kind != "i":
            raise UnsupportedModelError(
                f"{describe(layer)}: its input is {self.type(ids)}; expected int32 ids"
            )
        table = self.constant(f"{path}.weight", group.tensors["weight"])
        return self._one("Gather", path, [table, ids], {"axis": 0})

    def windowed(self, layer: Windowed, op: str, path: str, operands: Sequence[str]) -> str:
        """Slide over time, for which the channels come before it."""
        x, *rest = operands
        if self.type(x).rank != 3:
            order = "time, channels" if layer.channels_last else "channels, time"
            raise UnsupportedModelError(
                f"{describe(layer)}: its input is {self.type(x)}; expected [batch, {order}]"
            )
        if not layer.channels_last:
            return self._one(op, path, [x, *rest], layer.windows())
        x = self.transpose(f"{path}.channels", x, (0, 2, 1))
        y = self._one(op, path, [x, *rest], layer.windows())
        return self.transpose(f"{path}.steps", y, (0, 2, 1))

    def conv(self, layer: Conv1d, path: str, x: str, group: Group) -> str:
        """Cross-correlation with a bias, torch.nn.Conv1d with Keras' activation."""
        leaves = ("weight", "bias") if layer.bias else ("weight",)
        weights = [self.constant(f"{path}.{leaf}", group.tensors[leaf]) for leaf in leaves]
        y = self.windowed(layer, "Conv", path, [x, *weights])
        op, attrs = operator(layer.activation, describe(layer))
        if op == "Softmax" and not layer.channels_last:
            attrs = {**attrs, "axis": 1}
        return y if op == "Identity" else self._one(op, f"{path}.activation", [y], attrs)

    def layer_norm(self, layer: LayerNorm, path: str, x: str, group: Group | None) -> str:
        """Normalise over the last axes."""
        shape = self.type(x).shape[-len(layer.sizes) :]
        sizes = [s for s in shape if isinstance(s, int)]
        fits = [w in (None, s) for w, s in zip(layer.sizes, shape, strict=False)]
        if len(sizes) != len(layer.sizes) or not all(fits):
            raise UnsupportedModelError(
                f"{describe(layer)}: its input is {self.type(x)}; expected last axes of sizes "
                f"{layer.sizes}"
            )
        tensors = group.tensors if group is not None else {}
        operands = [x, self.constant(f"{path}.weight", tensors.get("weight", np.ones(sizes)))]
        if "bias" in tensors:
            operands.append(self.constant(f"{path}.bias", tensors["bias"]))
        attrs = {"axis": -len(layer.sizes), "epsilon": layer.eps}
        return self._one("LayerNormalization", path, operands, attrs)

    def batch_norm(self, layer: BatchNorm1d, path: str, x: str, group: Group) -> str:
        """Scale and shift along the channels; what is constant of both is worked out in float64."""
        own = {leaf: tensor.astype(np.float64) for leaf, tensor in group.tensors.items()}
        size = len(own["running_mean"])
        rank = self.type(x).rank
        axis = rank - 1 if layer.channels_last or rank == 2 else 1
        if rank not in (2, 3) or self.type(x).shape[axis] != size:
            raise UnsupportedModelError(
                f"{describe(layer)}: its input is {self.type(x)}; expected {size} channels on axis "
                f"{axis} of 2 or 3"
            )
        scale = own.get("weight", np.ones(size)) / np.sqrt(own["running_var"] + layer.eps)
        shift = own.get("bias", np.zeros(size)) - own["running_mean"] * scale
        wide = (-1, *[1] * (rank - 1 - axis))
        factor = self.constant(f"{path}.scale", scale.reshape(wide))
        y = self._one("Mul", f"{path}.scale", [x, factor], {})
        return self._one("Add", path, [y, self.constant(f"{path}.shift", shift.reshape(wide))], {})

    def recurrent(
        self,
        layer: Recurrent,
        path: str,
        inputs: Sequence[str],
        group: Group,
        mask: str | None = None,
    ) -> dict[str, str]:
        """A stack of recurrent layers; inputs are x and initial states as torch takes them.

        A mask of the steps that count has the axes of x but the last.

        Returns
        -------
        dict of str to str
            Values of ``output``, ``h_n`` and, for the LSTM, ``c_n``.
        """
        x, *initial = inputs
        self._check_input(layer, x, initial)
        if layer.batch_first:
            x = self.transpose(path, x, (1, 0, 2))
            mask = mask and self.transpose(f"{path}.mask", mask, (1, 0))
        finals: list[list[str]] = []
        y = x
        for k, ends in enumerate(suffixes(layer, group)):
            name = path if layer.num_layers == 1 else f"{path}.l{k}"
            count = layer.directions
            states: list[str | None] = [self.part(name, s, 0, k * count, count) for s in initial]
            operands = [y, *self._weights(layer, name, ends, group), None, *states]
            results = 3 if isinstance(layer, LSTM) else 2
            if isinstance(layer, LSTM) and layer.proj_size:
                hr = np.stack([group.tensors[f"weight_hr{end}"] for end in ends])
                padded = [*operands, None, None, None][:9]
                operands = [*padded, self.constant(f"{name}.proj", hr)]
            if mask is not None:
                operands = [*operands, *[None] * (10 - len(operands)), mask]
            op = type(layer).__name__
            shown = layer.return_sequences or k + 1 < layer.num_layers
            attrs = _attributes(layer, mask is not None and layer.bidirectional and shown)
            y, *final = self.add(op, name, operands, attrs, results)
            finals.append(final)
            y = self._merged(layer, name, y, 1)
        result = {
            word: self.joined(f"{path}.{word}", [f[i] for f in finals], 0)
            for i, word in enumerate(layer.results[1:])
        }
        return {"output": self._output(layer, path, y, finals[-1][0]), **result}

    def _check_input(self, layer: Recurrent, x: str, initial: Sequence[str]) -> None:
        found = self.type(x)
        if found.rank != 3:
            order = "batch, time" if layer.batch_first else "time, batch"
            raise UnsupportedModelError(
                f"{describe(layer)}: its input is {found}; expected [{order}, features]"
            )
        if initial and len(initial) + 1 != layer.inputs[1]:
            raise UnsupportedModelError(
                f"{describe(layer)}: got {len(initial)} initial states; expected "
                f"{layer.inputs[1] - 1} or none"
            )

    def _weights(
        self, layer: Recurrent, name: str, ends: Sequence[str], group: Group
    ) -> list[str | None]:
        """W, R, b_w, b_r [D, G*H, ...] in canonical gate order."""
        kind = type(layer).__name__
        stored = gates.TORCH if layer.gate_order is None else {kind: layer.gate_order}
        order = gates.permutation(stored, kind)
        size = layer.hidden

        def stacked(leaf: str, ours: str) -> str:
            blocks = [
                np.concatenate(
                    [group.tensors[leaf + end][g * size : (g + 1) * size] for g in order]
                )
                for end in ends
            ]
            return self.constant(f"{name}.{ours}", np.stack(blocks))

        made: list[str | None] = [stacked("weight_ih", "W"), stacked("weight_hh", "R")]
        if not layer.bias:
            return [*made, None, None]
        return [*made, stacked("bias_ih", "b_w"), stacked("bias_hh", "b_r")]

    def _merged(self, layer: Recurrent, name: str, y: str, axis: int) -> str:
        """Join the directions, an axis of y, in its last axis or by arithmetic."""
        shape = self.type(y).shape
        if not layer.bidirectional:
            return self._one("Squeeze", f"{name}.squeeze", [y], {"axes": (axis,)})
        kept = (*shape[:axis], *shape[axis + 1 :])
        if layer.merge_mode == "concat":
            order = [i for i in range(len(shape)) if i != axis]
            y = self.transpose(name, y, (*order[:-1], axis, order[-1]))
            target = (*kept[:-1], kept[-1] * 2)
            return self._one("Reshape", f"{name}.merge", [y], {"shape": target})
        both = [
            self._one(
                "Squeeze", f"{name}.squeeze", [self.part(name, y, axis, d, 1)], {"axes": (axis,)}
            )
            for d in range(2)
        ]
        op = "Mul" if layer.merge_mode == "mul" else "Add"
        y = self._one(op, f"{name}.merge", both, {})
        if layer.merge_mode == "ave":
            half = self.constant(f"{name}.half", np.array(0.5, np.float32))
            y = self._one("Mul", f"{name}.mean", [y, half], {})
        return y

    def _output(self, layer: Recurrent, path: str, y: str, h_n: str) -> str:
        """What the layer passes on: y [T, B, F] in the caller's layout, or the last step."""
        if not layer.return_sequences:
            return self._merged(layer, f"{path}.last", h_n, 0)
        if layer.go_backwards:
            steps = self.type(y).shape[0]
            y = self.part(f"{path}.backwards", y, 0, steps - 1, steps, -1)
        return self.transpose(f"{path}.out", y, (1, 0, 2)) if layer.batch_first else y


def _attributes(layer: Recurrent, zero: bool = False) -> dict[str, Any]:
    """Attributes of the canonical layer; zero: outputs of steps that do not count are zeros."""
    direction = "reverse" if layer.go_backwards else "forward"
    if layer.bidirectional:
        direction = "bidirectional"
    return RecurrentAttrs(
        hidden_size=layer.hidden,
        direction=direction,
        activations=(layer.cell_activations(),) * layer.directions,
        reset_after=isinstance(layer, GRU) and layer.reset_after,
        masked_output="zero" if zero else "carry",
    ).mapping()
