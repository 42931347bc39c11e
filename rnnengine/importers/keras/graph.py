"""A Keras configuration and its weights to a graph."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
    UndecidedError,
    Value,
    substitute,
    symbol,
    symbols_of,
)
from rnnengine.graph.verify import verify
from rnnengine.importers.keras import config
from rnnengine.importers.keras.builder import Builder
from rnnengine.importers.keras.calls import called, check, find, first_calls, floating
from rnnengine.importers.keras.config import NETWORKS, OPERATION
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.hdf5 import Group
from rnnengine.importers.keras.inputs import IDS, Inputs
from rnnengine.importers.keras.kinds import KINDS, Kind, known, slots_of
from rnnengine.importers.keras.layers import FAMILIES
from rnnengine.importers.keras.names import Params, Slots, Source, source
from rnnengine.importers.keras.records import Config, Layer, Network, Ref
from rnnengine.importers.keras.version import Version
from rnnengine.ops.sizes import Clash

__all__ = ["config_inputs", "import_config"]

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
        return tuple(Inputs(config.network(top, version, where), version, where).values({}))


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
        values = Inputs(self.network, self.version, self.where).values(self.sizes)
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
        first, first_ends = first_calls(network, self.version)
        pending = [(one, i) for one in network.layers for i in range(len(one.calls))]
        while pending:
            waiting = []
            for one, number in pending:
                call = one.calls[number]
                found = [find(first, values, ref) for ref in call.refs]
                tensors = [t for t in found if t is not None]
                if len(tensors) != len(found):
                    waiting.append((one, number))
                    continue
                ctx = called(made[one.name], call, tensors)
                with _in_layer(ctx):
                    outputs = self._convert(ctx, tensors[: len(call.inputs)])
                for i, out in enumerate(outputs):
                    values[Ref(one.name, number, i)] = out
            if len(waiting) == len(pending):
                break
            pending = waiting
        ends = [find(first_ends, values, ref) for ref in network.outputs]
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
        check(ctx, kind, len(inputs))
        tensors = list(inputs)
        if layer.kind not in IDS and not layer.kind.startswith(OPERATION):
            tensors = [floating(ctx, t) for t in tensors]
            if ctx.numbers:
                raise UnsupportedModelError(
                    f"{ctx.where}: is called with the number {ctx.numbers[0]}; accepted: tensors"
                )
        return kind.convert(ctx, tensors)


assert FAMILIES, "importing them makes the layers known"
for _kind in NETWORKS:
    KINDS[_kind] = Kind(lambda ctx, inputs: ctx.builder.network(ctx, inputs), _network_slots, None)
