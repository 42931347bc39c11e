"""A Keras configuration and its weights to a graph."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnnengine.errors import (
    ModelFormatError,
    RNNEngineError,
    ShapeError,
    UnsupportedModelError,
)
from rnnengine.graph import (
    Dim,
    Graph,
    Size,
    TensorType,
    UndecidedError,
    Value,
    substitute,
    symbol,
    symbols_of,
)
from rnnengine.graph.verify import verify
from rnnengine.importers.keras import config
from rnnengine.importers.keras.builder import (
    KINDS,
    Builder,
    Context,
    Kind,
    Steps,
    Tensor,
    known,
    slots_of,
)
from rnnengine.importers.keras.config import (
    NETWORKS,
    OPERATION,
    Call,
    Config,
    Layer,
    Network,
    Ref,
    Version,
)
from rnnengine.importers.keras.hdf5 import Group
from rnnengine.importers.keras.layers import FAMILIES
from rnnengine.importers.keras.names import Params, Slots, Source, source
from rnnengine.layers import Embedding
from rnnengine.ops.sizes import Clash

__all__ = ["config_inputs", "import_config"]

_IDS = ("Embedding",)
_INPUTS = ("float32", "float16", "bfloat16", "float64", "int32", "int64", "uint8", "int16")
"""Declared types of inputs that a float32 or, for a table, int32 array stands for."""
_MAX_NESTING = 20


def import_config(
    raw: Config,
    weights: Group,
    version: Version,
    where: str,
    sizes: Mapping[str, int] | None = None,
) -> Graph:
    """Build the graph of a model.

    Parameters
    ----------
    raw : mapping
        ``class_name`` and ``config`` of the model.
    weights : Group
        Its weights in any layout of Keras.
    version : Version
        Of the Keras that wrote the configuration.
    where : str
        Name of the file for messages.
    sizes : mapping of str to int, optional
        Numbers for symbolic sizes of the inputs.

    Returns
    -------
    Graph
        Batch first; the batch size is free, and so is the time axis where the file leaves it open.

    Raises
    ------
    ModelFormatError
        Configuration and weights contradict themselves or each other.
    UnsupportedModelError
        A layer, or an option of one, that is not supported; the message names it.
    """
    with _in_file(where):
        top = config.layer(raw, version, f"{where}: the model")
        found = config.network(top, version, where)
        importer = _Importer(top, found, weights, version, where)
        importer.sizes.update(sizes or {})
        while True:
            try:
                graph = verify(importer.run())
            except Clash as clash:
                importer.identify(clash)
            else:
                version.replacements.check(where)
                return graph


def config_inputs(raw: Config, version: Version, where: str) -> tuple[Value, ...]:
    """Inputs of a model, with symbols where the configuration leaves a size open."""
    with _in_file(where):
        top = config.layer(raw, version, f"{where}: the model")
        return tuple(_Inputs(config.network(top, version, where), version, where).values({}))


@contextlib.contextmanager
def _in_file(where: str) -> Iterator[None]:
    """Name the file in what is raised, and make what contradicts itself a fault of the format."""
    try:
        yield
    except RNNEngineError as error:
        if isinstance(error, ShapeError):
            raise ModelFormatError(f"{where}: {error}") from None
        if not str(error).startswith(where):
            error.args = (f"{where}: {error}",)
        raise
    except UndecidedError as error:
        raise UnsupportedModelError(f"{where}: {error}") from None
    except RecursionError:
        raise ModelFormatError(f"{where}: the configuration is nested too deep") from None


@contextlib.contextmanager
def _in_layer(ctx: Context) -> Iterator[None]:
    """Name the layer in what its shapes raise."""
    try:
        yield
    except Clash:
        raise
    except ShapeError as error:
        raise ModelFormatError(f"{ctx.where}: {error}") from None
    except UndecidedError as error:
        raise UnsupportedModelError(f"{ctx.where} depends on open sizes: {error}") from None


def _network_slots(layer: Layer, version: Version) -> Slots:
    """Weights of a network: those of its layers, in order."""
    inner = config.network(layer, version, layer.where)
    return Slots(
        (),
        tuple(
            (one.name, f"layers*{one.bare}", slots_of(one, version, one.name))
            for one in inner.layers
            if one.kind != "InputLayer"
        ),
    )


@dataclass(frozen=True)
class _Scope:
    """A network that is being built, and the prefix of its names."""

    network: Network
    params: Source | Params
    prefix: str
    version: Version

    def load(self, layer: Layer, where: str) -> Params:
        """Weights of one of its layers."""
        path = f"{self.prefix}{layer.name}"
        slots = slots_of(layer, self.version, path)
        if not slots:
            return Params()
        if isinstance(self.params, Params):
            return self.params.children[layer.name]
        return self.params.load(layer.name, slots, f"{where}: layer {path!r} ({layer.kind})")


class _Inputs:
    """What a model takes."""

    def __init__(self, network: Network, version: Version, where: str) -> None:
        self.network = network
        self.version = version
        self.where = where

    def values(self, sizes: Mapping[str, Size]) -> list[Value]:
        """Inputs with the sizes that are known."""
        entries = [self._entry(ref) for ref in self.network.inputs]
        names = [layer.name for layer in entries]
        if len(set(names)) != len(names):
            raise ModelFormatError(f"{self.where}: two inputs of the model have one name: {names}")
        return [self._input(layer, i, sizes) for i, layer in enumerate(entries)]

    def _entry(self, ref: Ref) -> Layer:
        layer = next(one for one in self.network.layers if one.name == ref.layer)
        if layer.kind != "InputLayer":
            raise UnsupportedModelError(
                f"{self.where}: input {ref.layer!r} of the model is a {layer.kind}; accepted: "
                "InputLayer"
            )
        return layer

    def _input(self, layer: Layer, position: int, known: Mapping[str, Size]) -> Value:
        """Declared type of an input: a free batch, int32 where it is looked up in a table."""
        shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
        if shape is None:
            shape = self._guessed(layer)
        if (
            not isinstance(shape, list)
            or not shape
            or not all(s is None or (isinstance(s, int) and 0 < s < 1 << 31) for s in shape)
        ):
            raise ModelFormatError(
                f"{self.where}: input {layer.name!r} has shape {shape!r}; expected a list of sizes"
            )
        if layer.config.get("sparse") or layer.config.get("ragged"):
            raise UnsupportedModelError(
                f"{self.where}: input {layer.name!r} is sparse or ragged; accepted: dense"
            )
        sizes = [symbol("batch")]
        for axis, size in enumerate(shape[1:], 1):
            sizes.append(size if size is not None else symbol(_word(axis, position)))
        if layer.config.get("dtype") not in (None, *_INPUTS):
            raise UnsupportedModelError(
                f"{self.where}: input {layer.name!r} has dtype {layer.config['dtype']!r}; "
                f"accepted: {', '.join(_INPUTS)}"
            )
        bound = tuple(substitute(s, known) for s in sizes)
        dtype = np.int32 if self._looked_up(self.network, layer.name) else np.float32
        return Value(layer.name, TensorType(np.dtype(dtype), bound))

    def _guessed(self, layer: Layer) -> list[int | None]:
        """Shape of an input that the configuration leaves out: [batch, time, features]."""
        fed = [one for one in self.network.layers if _feeds(one, layer.name)]
        first = fed[0] if fed else layer
        if isinstance(first.input_shape, list):
            return first.input_shape
        if first.kind in _IDS:
            length = first.config.get("input_length")
            return [None, length if isinstance(length, int) else None]
        size = first.config.get("input_dim")
        if isinstance(size, int) and first.kind == "Dense":
            return [None, size]
        if isinstance(size, int):
            length = first.config.get("input_length")
            return [None, length if isinstance(length, int) else None, size]
        raise ModelFormatError(
            f"{self.where}: {first.where} does not say the shape of its input; expected "
            "batch_input_shape or an InputLayer"
        )

    def _looked_up(self, network: Network, name: str) -> bool:
        """Whether an input goes into an Embedding."""
        for one in network.layers:
            if not _feeds(one, name):
                continue
            if one.kind in _IDS or isinstance(one.replacement, Embedding):
                return True
            if one.replacement is None and one.kind in NETWORKS:
                inner = config.network(one, self.version, self.where)
                if any(self._looked_up(inner, ref.layer) for ref in inner.inputs):
                    return True
        return False


class _Importer:
    """One model, built again whenever two of its symbols turn out to be one."""

    def __init__(
        self, top: Layer, network: Network, weights: Group, version: Version, where: str
    ) -> None:
        self.network = network
        self.version = version
        self.where = where
        slots = _network_slots(top, version)
        self.weights: Source | Params = source(weights, slots, where) if slots else Params()
        self.sizes: dict[str, Size] = {}
        self.depth = 0

    def identify(self, clash: Clash) -> None:
        """Make the two sizes of a clash equal from now on."""
        for name_of, value in ((clash.left, clash.right), (clash.right, clash.left)):
            if isinstance(name_of, Dim) and name_of == symbol(next(iter(symbols_of(name_of)))):
                (name,) = symbols_of(name_of)
                if name not in symbols_of(value):
                    self.sizes = {k: substitute(v, {name: value}) for k, v in self.sizes.items()}
                    self.sizes[name] = value
                    return
        raise ModelFormatError(f"{self.where}: {clash}")

    def run(self) -> Graph:
        """Build the model with what is known of its symbols."""
        self.depth = 0
        values = _Inputs(self.network, self.version, self.where).values(self.sizes)
        names = [value.name for value in values]
        outputs = self._output_names()
        builder = Builder(values, {*names, *outputs})
        builder.network = self._nested
        scope = _Scope(self.network, self.weights, "", self.version)
        results = self._build(builder, scope, [Tensor(name) for name in names])
        done: list[str] = []
        for name, (ctx, tensor) in zip(outputs, results, strict=True):
            if tensor.steps is not None:
                raise UnsupportedModelError(f"{ctx.where}: an output of the model is a mask")
            settled = ctx.settled(tensor).name
            builder.node("Identity", f"{name}.output", [settled], [name], {})
            done.append(name)
        return Graph(
            name=self.network.name,
            inputs=tuple(values),
            outputs=tuple(done),
            nodes=tuple(builder.nodes),
            constants=builder.constants,
            source=self.where,
        )

    def _output_names(self) -> list[str]:
        """The layers' own names; further outputs and calls of one layer get numbers."""
        taken = {ref.layer for ref in self.network.inputs}
        names: list[str] = []
        for ref in self.network.outputs:
            base = ref.layer if ref.tensor == 0 else f"{ref.layer}:{ref.tensor}"
            name, count = base, 1
            while name in taken:
                name, count = f"{base}_{count}", count + 1
            taken.add(name)
            names.append(name)
        return names

    def _build(
        self, builder: Builder, scope: _Scope, given: Sequence[Tensor]
    ) -> list[tuple[Context, Tensor]]:
        """Convert every call whose inputs are there, until the outputs are."""
        network = scope.network
        if len(given) != len(network.inputs):
            raise ModelFormatError(
                f"{self.where}: network {network.name!r} is called with {len(given)} tensors; "
                f"expected {len(network.inputs)}"
            )
        values = {ref: tensor for ref, tensor in zip(network.inputs, given, strict=True)}
        made: dict[str, Context] = {}
        params = {one.name: scope.load(one, self.where) for one in network.layers if one.calls}
        for one in network.layers:
            path = f"{scope.prefix}{one.name}"
            made[one.name] = Context(
                builder, one, params.get(one.name, Params()), self.version, path
            )
        first, first_ends = _first_calls(network, self.version)
        pending = [(one, i) for one in network.layers for i in range(len(one.calls))]
        while pending:
            waiting = []
            for one, number in pending:
                call = one.calls[number]
                found = [_find(first, values, ref) for ref in call.refs]
                tensors = [t for t in found if t is not None]
                if len(tensors) != len(found):
                    waiting.append((one, number))
                    continue
                ctx = _called(made[one.name], call, tensors)
                with _in_layer(ctx):
                    outputs = self._convert(ctx, tensors[: len(call.inputs)])
                for i, out in enumerate(outputs):
                    values[Ref(one.name, number, i)] = out
            if len(waiting) == len(pending):
                break
            pending = waiting
        ends = [_find(first_ends, values, ref) for ref in network.outputs]
        for ref, end in zip(network.outputs, ends, strict=True):
            if end is None:
                raise ModelFormatError(
                    f"{self.where}: nothing computes output {ref.tensor} of call {ref.node} of "
                    f"layer {ref.layer!r} in {network.name!r}"
                )
        pairs = zip(network.outputs, ends, strict=True)
        return [(made[ref.layer], end) for ref, end in pairs if end is not None]

    def _nested(self, ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
        """A network inside the model, or inside a layer of it."""
        network = config.network(ctx.layer, self.version, self.where)
        inner = _Scope(network, ctx.params, f"{ctx.path}/", self.version)
        self.depth += 1
        if self.depth > _MAX_NESTING:
            raise ModelFormatError(f"{self.where}: more than {_MAX_NESTING} networks are nested")
        made = [c.settled(t) for c, t in self._build(ctx.builder, inner, inputs)]
        self.depth -= 1
        return made

    def _convert(self, ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
        layer = ctx.layer
        if layer.replacement is not None or layer.kind in NETWORKS:
            return known(layer, ctx.path).convert(ctx, inputs)
        kind = known(layer, ctx.path)
        _check(ctx, kind, len(inputs))
        tensors = list(inputs)
        if layer.kind not in _IDS and not layer.kind.startswith(OPERATION):
            tensors = [_floating(ctx, t) for t in tensors]
            if ctx.numbers:
                raise UnsupportedModelError(
                    f"{ctx.where}: is called with the number {ctx.numbers[0]}; accepted: tensors"
                )
        return kind.convert(ctx, tensors)


def _called(ctx: Context, call: Call, tensors: Sequence[Tensor]) -> Context:
    """The context of one call; `tensors` are its inputs, its states and its masks."""
    count = len(call.inputs)
    queue = list(tensors[count + len(call.states) :])
    given: list[Steps | None] = []
    for ref in call.masks:
        steps = None if ref is None else queue.pop(0).steps
        if ref is not None and steps is None:
            raise UnsupportedModelError(
                f"{ctx.where}: its mask is {ref.layer!r}, which is computed; accepted: masks "
                "of Masking, of Embedding and of what joins them"
            )
        given.append(steps)
    return replace(
        ctx,
        states=tuple(tensors[count : count + len(call.states)]),
        given_masks=tuple(given),
        numbers=call.numbers,
        options=call.options,
    )


def _word(axis: int, position: int) -> str:
    """Symbol of an open axis of an input; every input starts with its own."""
    word = "time" if axis == 1 else f"axis{axis}"
    return word if position == 0 else f"{word}_{position + 1}"


def _feeds(layer: Layer, name: str) -> bool:
    return any(ref.layer == name for call in layer.calls for ref in call.inputs)


def _first_calls(network: Network, version: Version) -> tuple[dict[str, int], dict[str, int]]:
    """Number of the first call of each network inside, for references of calls and of outputs.

    Keras 2 counts the calls of some networks from 1, and Keras 3 those of all but Sequential ones
    where outputs refer to them. Every call leads to an output, so something refers to each of
    them; that tells how Keras 2 counts.
    """
    asked: dict[str, set[int]] = {}
    for one in network.layers:
        for call in one.calls:
            for ref in call.refs:
                asked.setdefault(ref.layer, set()).add(ref.node)
    returned: dict[str, set[int]] = {}
    for ref in network.outputs:
        returned.setdefault(ref.layer, set()).add(ref.node)
    calls, ends = dict[str, int](), dict[str, int]()
    for one in network.layers:
        if one.kind not in NETWORKS:
            continue
        last = returned.get(one.name, set())
        if version.major >= 3:
            ends[one.name] = int(one.kind != "Sequential" and 0 not in last)
            continue
        every = asked.get(one.name, set()) | last
        calls[one.name] = ends[one.name] = int(len(one.calls) in every and 0 not in every)
    return calls, ends


def _find(first: Mapping[str, int], values: Mapping[Ref, Tensor], ref: Ref) -> Tensor | None:
    """A value, whose call is counted from where its layer's calls are."""
    return values.get(replace(ref, node=ref.node - first.get(ref.layer, 0)))


def _check(ctx: Context, kind: Kind, count: int) -> None:
    if count == 0 or (kind.inputs is not None and count != kind.inputs):
        raise ModelFormatError(
            f"{ctx.where}: has {count} inputs; expected {kind.inputs or 'one or more'}"
        )
    odd = sorted(ctx.options - set(kind.options))
    if odd:
        raise UnsupportedModelError(
            f"{ctx.where}: is called with {odd[0]}=True; accepted: tensors, initial_state and mask"
            + "".join(f", {option}" for option in kind.options)
        )
    if ctx.layer.kind.startswith(OPERATION):
        return
    policy: Any = ctx.get("dtype")
    if isinstance(policy, dict):
        inner = policy.get("config")
        named = inner.get("name") if isinstance(inner, dict) else None
        policy = named if policy.get("class_name") in _POLICIES else policy.get("class_name")
    if policy is not None and policy not in _DTYPES:
        raise UnsupportedModelError(
            f"{ctx.where}: dtype is {policy!r}; accepted: {', '.join(sorted(_DTYPES))}"
        )


_POLICIES = ("DTypePolicy", "Policy")
_DTYPES = (
    "float32",
    "float16",
    "bfloat16",
    "mixed_float16",
    "mixed_bfloat16",
    "int32",
    "int64",
    "uint8",
)
"""Halves are computed in float32, which is what they approximate; integers are tables' numbers."""


def _floating(ctx: Context, tensor: Tensor) -> Tensor:
    """Numbers of a table's input that another layer reads as floats."""
    if tensor.steps is not None:
        raise UnsupportedModelError(f"{ctx.where}: its input is a mask; accepted: numbers")
    if ctx.type(tensor).dtype.kind == "f":
        return tensor
    floats = ctx.emit("Cast", [tensor.name], {"to": np.dtype(np.float32)}, "floats")
    return replace(tensor, name=floats)


assert FAMILIES, "importing them makes the layers known"
for _kind in NETWORKS:
    KINDS[_kind] = Kind(lambda ctx, inputs: ctx.builder.network(ctx, inputs), _network_slots, None)
