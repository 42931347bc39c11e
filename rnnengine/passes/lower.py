"""Give the weights of products fewer bytes, layer by layer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase

import numpy as np

from rnnengine.errors import RNNEngineError, UnsupportedModelError
from rnnengine.graph import (
    Choice,
    Graph,
    LoweredMatrix,
    Node,
    Packing,
    as_integers,
    as_lowered,
    fresh,
)
from rnnengine.graph.lowered import COMPUTE_TYPES
from rnnengine.graph.rounding import lower_matrix
from rnnengine.ops.registry import Array
from rnnengine.ops.types import describe
from rnnengine.ops.weights import is_layer, lowered_weights
from rnnengine.passes.auto import Machine, automatic
from rnnengine.passes.fold_batch_norm import fold_batch_norm
from rnnengine.passes.prune import remove_dead
from rnnengine.records import field, record

__all__ = [
    "ACCEPTED",
    "STORED",
    "Lowering",
    "check_request",
    "choose",
    "lower",
    "with_numbers",
]

STORED = "stored"
"""Asked for where nobody asks: integers that the file has stay integers, all else is float32."""

ACCEPTED = ("float32", *COMPUTE_TYPES, "auto")
"""What can be asked for."""

_KEPT_TYPE = "as it is stored"
_OF_INTEGERS = {STORED: "int8", "auto": "int8", "int8": "int8", "int8_fast": "int8_fast"}
"""Compute type of weights that come as integers; where it has no entry, they are numbers."""


@record
class Lowering:
    """What was asked for, and what was made of it so far.

    Attributes
    ----------
    compute_type : str
        One of ``ACCEPTED``, or ``STORED``.
    keep : tuple of str
        Layers that stay in float32: names of nodes, patterns with ``*`` and ``?``, or what stands
        in front of a dot or slash in a name.
    machine : Machine
        What ``auto`` goes by.
    made : dict
        Weights that were lowered, so that several graphs of one model share them.
    """

    compute_type: str
    keep: tuple[str, ...] = ()
    machine: Machine = field(default_factory=Machine)
    made: dict[tuple[str, Packing, str], LoweredMatrix] = field(default_factory=dict)

    def lowered(self, weights: Array, packing: Packing, compute_type: str) -> LoweredMatrix:
        """Weights of a graph in fewer bytes."""
        array = np.ascontiguousarray(weights, np.float32)
        key = hashlib.sha256(array.data).hexdigest(), packing, f"{compute_type} {array.shape}"
        if key not in self.made:
            self.made[key] = lower_matrix(array, packing, compute_type)
        return self.made[key]


def check_request(compute_type: str | None, keep: Iterable[str]) -> tuple[str, ...]:
    """Hold against what can be asked for at all; return ``keep`` as a tuple.

    Raises
    ------
    ValueError
        An unknown compute type, or layers to keep where nothing is lowered.
    """
    if compute_type is not None and compute_type not in ACCEPTED:
        raise ValueError(f"compute_type is {compute_type!r}; accepted: {', '.join(ACCEPTED)}")
    kept = (keep,) if isinstance(keep, str) else tuple(keep)
    if kept and compute_type in (None, "float32"):
        raise ValueError(
            f"keep is {list(kept)} with compute_type {compute_type!r}; it names the layers that "
            "stay in float32 where another compute type is asked for"
        )
    return kept


def lower(graph: Graph, lowering: Lowering) -> Graph:
    """Return the graph with the weights of its layers in fewer bytes than float32.

    Recurrent layers, products with a constant matrix and convolutions of one group are lowered; a
    layer whose weights arrive at run time stays in float32. Whatever is no weight stays as it is,
    and so do all constants that others than weights read. ``Graph.choices`` says what became of
    each layer. Batch normalisations are worked into the weights before, and factors of Gemm too.

    Parameters
    ----------
    graph : Graph
        In settled form.
    lowering : Lowering

    Raises
    ------
    UnsupportedModelError
        The compute type is none that the layers can have: a name in ``keep`` belongs to none of
        them, there are none, a layer has another type already, or its weights do not fit the type.
        Layer and weight are named.
    """
    if lowering.compute_type == "float32":
        choose(graph, lowering)
        return with_numbers(graph)
    graph = _without_factors(fold_batch_norm(graph))
    if lowering.compute_type in _OF_INTEGERS:
        graph = _with_integers(graph, lowering)
    choices = choose(graph, lowering)
    types = {choice.node: choice.compute_type for choice in choices if choice.reason != _KEPT_TYPE}
    constants = dict(graph.constants)
    taken = _taken(graph)
    names: dict[tuple[str, Packing, str], str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        compute_type = types.get(node.name, "float32")
        inputs = list(node.inputs)
        for position, packing in lowered_weights(node).items():
            name = inputs[position] or ""
            if compute_type == "float32":
                continue
            made = _lowered(node, name, constants[name], packing, compute_type, lowering)
            key = (name, packing, compute_type)
            if key not in names:
                names[key] = fresh(f"{name}.{compute_type}", taken)
                constants[names[key]] = made  # type: ignore[assignment]
            inputs[position] = names[key]
        nodes.append(Node(node.op, node.name, tuple(inputs), node.outputs, node.attrs))
    made_so = graph.with_(nodes=tuple(nodes), constants=constants, choices=choices)
    return with_numbers(remove_dead(made_so))


def with_numbers(graph: Graph) -> Graph:
    """Return the graph with float32 numbers in the place of integers that no kernel gets."""
    if not any(as_integers(value) is not None for value in graph.constants.values()):
        return graph
    constants = {
        name: value if as_integers(value) is None else np.asarray(value)
        for name, value in graph.constants.items()
    }
    return graph.with_(constants=constants)


def _taken(graph: Graph) -> set[str]:
    return {*graph.constants, *graph.producers(), *(value.name for value in graph.inputs)}


def _with_integers(graph: Graph, lowering: Lowering) -> Graph:
    """Give the kernels' layout to weights that came as integers, but those of layers to keep.

    Integers that have several scales for a row are left; they are numbers like any others then.
    """
    if not any(as_integers(value) is not None for value in graph.constants.values()):
        return graph
    layers = [node for node in graph.nodes if is_layer(node, graph)]
    kept = _kept([node.name for node in layers], lowering.keep)
    compute_type = _OF_INTEGERS[lowering.compute_type]
    constants = dict(graph.constants)
    taken = _taken(graph)
    names: dict[tuple[str, Packing], str] = {}
    changed: dict[str, Node] = {}
    for node in layers:
        if node.name in kept or node.attrs.get("group", 1) != 1:
            continue
        inputs = list(node.inputs)
        for position, packing in lowered_weights(node).items():
            name = inputs[position] or ""
            integers = as_integers(constants.get(name))
            if integers is None or packing.matrices(integers.shape) is None:
                continue
            if (name, packing) not in names:
                try:
                    made = integers.lowered(packing, compute_type)
                except RNNEngineError as error:
                    error.args = (f"{describe(node)}: {name!r} in {compute_type}: {error}",)
                    raise
                if made is None:
                    continue
                names[name, packing] = fresh(f"{name}.{compute_type}", taken)
                constants[names[name, packing]] = made  # type: ignore[assignment]
            inputs[position] = names[name, packing]
        changed[node.name] = Node(node.op, node.name, tuple(inputs), node.outputs, node.attrs)
    nodes = tuple(changed.get(node.name, node) for node in graph.nodes)
    return graph.with_(nodes=nodes, constants=constants)


def _lowered(
    node: Node,
    name: str,
    weights: Array,
    packing: Packing,
    compute_type: str,
    lowering: Lowering,
) -> LoweredMatrix:
    kept = as_lowered(weights)
    if kept is not None:
        computed = kept.computed_as(compute_type)
        assert computed is not None  # choose() has refused
        return computed.packed_as(packing)
    try:
        return lowering.lowered(weights, packing, compute_type)
    except RNNEngineError as error:
        error.args = (f"{describe(node)}: {name!r} in {compute_type}: {error}",)
        raise


def choose(graph: Graph, lowering: Lowering) -> tuple[Choice, ...]:
    """Compute type of every layer that has weights, in the order of the graph.

    Raises
    ------
    UnsupportedModelError
        As :func:`lower`, but for weights that do not fit.
    """
    layers = [node for node in graph.nodes if is_layer(node, graph)]
    kept = _kept([node.name for node in layers], lowering.keep)
    choices = []
    for node in layers:
        found = _fixed(node, graph, lowering, node.name in kept)
        if found is None and lowering.compute_type == "auto":
            elements = sum(
                graph.constants[node.inputs[i] or ""].size for i in lowered_weights(node)
            )
            found = automatic(node.op, elements, lowering.machine)
        elif found is None:
            found = lowering.compute_type, ""
        choices.append(Choice(node.name, node.op, *found))
    if lowering.compute_type in COMPUTE_TYPES and all(c.compute_type == "float32" for c in choices):
        said = "; ".join(map(str, choices[:4])) or "no layer has weights"
        raise UnsupportedModelError(
            f"compute_type={lowering.compute_type!r}: nothing in the model can be computed so: "
            f"{said}"
        )
    return tuple(choices)


def _kept(names: list[str], patterns: tuple[str, ...]) -> set[str]:
    """Names of layers that any of the patterns means."""
    kept: set[str] = set()
    for pattern in patterns:
        found = {
            name
            for name in names
            if fnmatchcase(name, pattern) or name.startswith((f"{pattern}.", f"{pattern}/"))
        }
        if not found:
            raise UnsupportedModelError(
                f"keep: no layer is called {pattern!r}; the layers with weights are "
                f"{', '.join(map(repr, names)) or 'none'}"
            )
        kept |= found
    return kept


def _fixed(node: Node, graph: Graph, lowering: Lowering, kept: bool) -> tuple[str, str] | None:
    """Compute type and reason where a layer leaves no choice, None where it has one."""
    wanted = lowering.compute_type
    weights = {i: graph.constants.get(node.inputs[i] or "") for i in lowered_weights(node)}
    small = [found for value in weights.values() if (found := as_lowered(value)) is not None]
    if small:
        return _already(node, small, wanted, kept)
    if wanted in ("float32", STORED):
        return "float32", ""
    if any(value is None for value in weights.values()):
        return "float32", "its weights arrive at run time"
    if any(value is not None and value.dtype != np.float32 for value in weights.values()):
        return "float32", "its weights are no float32 numbers"
    if any(value is not None and value.size == 0 for value in weights.values()):
        return "float32", "it has no weights"
    group = node.attrs.get("group", 1)
    if group != 1:
        return "float32", f"a convolution of {group} groups"
    return ("float32", "kept") if kept else None


def _already(node: Node, small: list[LoweredMatrix], wanted: str, kept: bool) -> tuple[str, str]:
    """What becomes of a layer whose weights were stored in fewer bytes."""
    found = small[0].compute_type
    if wanted in ("auto", STORED) and not kept:
        return found, _KEPT_TYPE
    if kept or wanted == "float32" or any(m.computed_as(wanted) is None for m in small):
        asked = "float32" if kept else wanted
        raise UnsupportedModelError(
            f"{describe(node)}: its weights are stored in {found}; {asked} cannot be computed of "
            "them. Leave compute_type and keep out, or start from the model that these weights "
            "were made of"
        )
    return wanted, ""


def _without_factors(graph: Graph) -> Graph:
    """Work the factor alpha of a Gemm into its constant weights."""
    constants = dict(graph.constants)
    taken = _taken(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        weights = constants.get(node.inputs[1] or "") if node.op == "Gemm" else None
        alpha = node.attrs.get("alpha", 1.0)
        plain = weights is not None and as_lowered(weights) is None
        if weights is None or not plain or alpha == 1.0 or weights.dtype != np.float32:
            nodes.append(node)
            continue
        name = fresh(f"{node.name}.alpha.B", taken)
        integers = as_integers(weights)
        if integers is not None and alpha > 0:
            constants[name] = integers.scaled(np.asarray(alpha))  # type: ignore[assignment]
        else:
            constants[name] = (np.asarray(weights, np.float64) * alpha).astype(np.float32)
        inputs = (node.inputs[0], name, *node.inputs[2:])
        nodes.append(Node(node.op, node.name, inputs, node.outputs, {**node.attrs, "alpha": 1.0}))
    return graph.with_(nodes=tuple(nodes), constants=constants)
