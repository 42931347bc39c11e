"""A Keras configuration as data: layers, who feeds whom, and the Keras that wrote it.

Sequential and Functional networks of Keras 1, 2, tf.keras and 3 come out alike. Nothing in it is
looked up, imported or called.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.layers import Replacement

__all__ = [
    "NETWORKS",
    "OPERATION",
    "Call",
    "Config",
    "Layer",
    "Network",
    "Ref",
    "Replacements",
    "Version",
    "network",
    "parse",
]

Config: TypeAlias = Mapping[str, Any]

_SEQUENTIAL = ("Sequential",)
NETWORKS = (*_SEQUENTIAL, "Functional", "Model")
OPERATION = "ops."
"""Put before the class names of functions of Keras 3, some of which are also those of layers."""
_MAX_TEXT = 1 << 26
_MAX_LAYERS = 10_000

_KERAS_1 = {
    "output_dim": "units",
    "inner_activation": "recurrent_activation",
    "bias": "use_bias",
    "nb_filter": "filters",
    "p": "rate",
    "filter_length": "kernel_size",
    "border_mode": "padding",
    "subsample_length": "strides",
    "atrous_rate": "dilation_rate",
    "pool_length": "pool_size",
    "stride": "strides",
    "length": "size",
}
"""Words of Keras 1 that Keras 2 renamed, for layers whose word it is; Embedding keeps its own."""


class Replacements:
    """What the caller gives for layers whose class cannot be read, by name or class of the layer.

    Parameters
    ----------
    given : mapping of str to Replacement, optional
    """

    def __init__(self, given: Mapping[str, Replacement] | None = None) -> None:
        self._given = dict(given or {})
        self._used: set[str] = set()

    def find(self, name: str, kind: str) -> Replacement | None:
        """The one for a layer: by its name, by its whole class, or by the last part of that."""
        for key in (name, kind, _bare(kind)):
            if key in self._given:
                self._used.add(key)
                return self._given[key]
        return None

    def check(self, where: str) -> None:
        """Refuse those that no layer of the file took."""
        unused = sorted(self._given.keys() - self._used)
        if unused:
            raise UnsupportedModelError(
                f"{where}: replacements names {', '.join(map(repr, unused))}; the model has no "
                "layer of that name or class"
            )


def _bare(kind: str) -> str:
    """Name of a class without its module or package."""
    return re.split(r"[>.]", kind)[-1]


@dataclass(frozen=True)
class Version:
    """The Keras that wrote a file.

    Attributes
    ----------
    major, minor : int
    tf : bool
        tf.keras, whose early versions already had what Keras got later.
    theano : bool
        It ran on Theano, whose convolutions turn their kernels round.
    replacements : Replacements
        What stands for the layers of the file that are not of that Keras.
    """

    major: int
    minor: int
    tf: bool = False
    theano: bool = False
    replacements: Replacements = field(default_factory=Replacements, compare=False)

    def since(self, major: int, minor: int) -> bool:
        """Whether it is that version or a later one."""
        return (self.major, self.minor) >= (major, minor)

    @classmethod
    def parse(cls, text: str | None) -> Version:
        """Read '2.1.3', '2.2.4-tf', '3.15.1'; None stands for Keras 1.0, which wrote none."""
        if not text:
            return cls(1, 0)
        match = re.match(r"(\d{1,4})\.(\d{1,4})", text)
        if match is None:
            raise ModelFormatError(f"keras_version is {text!r}; expected a version number")
        major, minor = int(match[1]), int(match[2])
        return cls(major, minor, text.endswith("-tf") or (major == 2 and minor >= 4))


@dataclass(frozen=True)
class Ref:
    """Output ``tensor`` of call ``node`` of the named layer."""

    layer: str
    node: int
    tensor: int


@dataclass(frozen=True)
class Call:
    """One call of a layer: inputs, initial state, masks, numbers, and arguments that are true."""

    inputs: tuple[Ref, ...]
    states: tuple[Ref, ...] = ()
    masks: tuple[Ref | None, ...] = ()
    numbers: tuple[float, ...] = ()
    options: frozenset[str] = frozenset()

    @property
    def refs(self) -> tuple[Ref, ...]:
        """Everything it needs: inputs, states, and the masks that there are."""
        return (*self.inputs, *self.states, *(ref for ref in self.masks if ref is not None))


@dataclass(frozen=True)
class Layer:
    """One layer: class, name, configuration, where it is called, and what stands for it."""

    kind: str
    name: str
    config: Config
    calls: tuple[Call, ...] = ()
    input_shape: Any = None
    replacement: Replacement | None = None

    @property
    def bare(self) -> str:
        """Name of the class without its module."""
        return _bare(self.kind)

    @property
    def where(self) -> str:
        """The layer as messages name it."""
        return f"layer {self.name!r} ({self.kind})"


@dataclass(frozen=True)
class Network:
    """Layers in the order of the file; refs to the tensors that go in and come out."""

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]


def parse(text: bytes | str, where: str) -> Config:
    """Read JSON whose top is an object.

    Raises
    ------
    ModelFormatError
        It is no such text, or too long or too deep.
    """
    if len(text) > _MAX_TEXT:
        raise ModelFormatError(f"{where}: a configuration of {len(text)} bytes is too long")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{where}: not JSON ({error})") from None
    return _mapping(found, where)


def _mapping(value: Any, where: str) -> Config:
    if not isinstance(value, dict):
        raise ModelFormatError(f"{where} is {type(value).__name__}; expected an object")
    return value


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ModelFormatError(f"{where} is {type(value).__name__}; expected a list")
    return value


def layer(raw: Any, version: Version, where: str) -> Layer:
    """Read the configuration of one layer.

    Raises
    ------
    ModelFormatError
        It has no class name or no configuration.
    """
    entry = _mapping(raw, where)
    kind = entry.get("class_name")
    if not isinstance(kind, str):
        raise ModelFormatError(f"{where} has no class_name")
    kind = kind.rsplit(">", 1)[-1] if kind.startswith("Keras>") else kind
    config = entry.get("config")
    config = (
        {"layers": config} if isinstance(config, list) else _mapping(config, f"{where} ({kind})")
    )
    name = config.get("name") or entry.get("name") or kind.lower()
    if not isinstance(name, str) or not 0 < len(name) <= 1000:
        raise ModelFormatError(f"{where} ({kind}) has a name that is no text: {name!r}")
    if version.major < 2 and kind != "Embedding":
        config = {_KERAS_1.get(key, key): value for key, value in config.items()}
    build = entry.get("build_config")
    shape = build.get("input_shape") if isinstance(build, dict) else None
    module, registered = entry.get("module"), entry.get("registered_name")
    if isinstance(registered, str) and not registered.startswith("Keras>") and ">" in registered:
        kind = registered
    elif isinstance(module, str) and module and module.split(".")[0] not in _HOMES:
        kind = f"{module}.{kind}"
    operation = isinstance(module, str) and module.startswith("keras.src.ops")
    if module is None and version.major >= 3:
        operation = kind in _FUNCTIONS and not {"trainable", "dtype"} & (config.keys() - _OWN[kind])
    kind = f"{OPERATION}{kind}" if operation else kind
    found = version.replacements.find(name, kind)
    return Layer(kind, name, config, input_shape=shape, replacement=found)


_FUNCTIONS = frozenset(
    {
        "Any",
        "Concatenate",
        "ConvertToTensor",
        "ExpandDims",
        "LogicalOr",
        "NotEqual",
        "OnesLike",
        "Squeeze",
        "ZerosLike",
    }
)
"""Functions in the masks of Keras 3. Its HDF5 files do not say where a class is from; a layer has
fields that a function has not."""
_TYPED = ("ConvertToTensor", "OnesLike", "ZerosLike")
_OWN = {kind: {"dtype"} if kind in _TYPED else set() for kind in _FUNCTIONS}

_HOMES = ("keras", "keras_hub", "tensorflow", "tf_keras", "builtins")


def network(raw: Layer, version: Version, where: str) -> Network:
    """Read a Sequential or Functional configuration.

    Raises
    ------
    ModelFormatError
        It has no layers, two of one name, or a connection that is none.
    UnsupportedModelError
        It is of another class.
    """
    if raw.kind not in NETWORKS:
        raise UnsupportedModelError(
            f"{where}: the model is of class {raw.kind!r}; accepted: {', '.join(NETWORKS)}"
        )
    entries = _listed(raw.config.get("layers"), f"{where}: 'layers' of {raw.name!r}")
    if not 0 < len(entries) <= _MAX_LAYERS:
        raise ModelFormatError(f"{where}: {raw.name!r} has {len(entries)} layers")
    layers = [
        layer(e, version, f"{where}: layer {i} of {raw.name!r}") for i, e in enumerate(entries)
    ]
    known = {one.name for one in layers}
    if len(known) != len(layers):
        raise ModelFormatError(f"{where}: two layers of {raw.name!r} have one name")
    if raw.kind in _SEQUENTIAL:
        return _sequential(raw.name, layers)
    reader = _Connections(known, where)
    called = [reader.layer(e, one) for e, one in zip(entries, layers, strict=True)]
    ends = [
        tuple(reader.ends(raw.config.get(key), f"{key} of {raw.name!r}"))
        for key in ("input_layers", "output_layers")
    ]
    return Network(raw.name, tuple(called), ends[0], ends[1])


def _sequential(name: str, layers: list[Layer]) -> Network:
    """Chain the layers; the first is an InputLayer, made from the second's shape if absent."""
    if layers[0].kind != "InputLayer":
        first = layers[0]
        shape = first.config.get("batch_input_shape")
        config = {"batch_input_shape": shape, "dtype": first.config.get("dtype")}
        layers = [Layer("InputLayer", f"{first.name}_input", config), *layers]
    chained = [layers[0]]
    for before, one in itertools.pairwise(layers):
        call = Call((Ref(before.name, 0, 0),))
        chained.append(replace(one, calls=(call,)))
    ends = (Ref(layers[0].name, 0, 0),), (Ref(layers[-1].name, 0, 0),)
    return Network(name, tuple(chained), *ends)


class _Connections:
    """Reads `inbound_nodes` in both dialects."""

    def __init__(self, known: set[str], where: str) -> None:
        self.known = known
        self.where = where

    def layer(self, entry: Config, one: Layer) -> Layer:
        """The layer with its calls."""
        nodes = _listed(
            entry.get("inbound_nodes", []), f"{self.where}: inbound_nodes of {one.where}"
        )
        calls = tuple(self._call(node, one) for node in nodes)
        return replace(one, calls=calls)

    def _call(self, node: Any, one: Layer) -> Call:
        if one.replacement is not None:
            return self._free_call(node, one)
        numbers: list[float] = []
        if isinstance(node, dict):
            kwargs = _mapping(node.get("kwargs", {}), f"{self.where}: kwargs of {one.where}")
            inputs = list(self._refs(node.get("args", []), one, numbers))
        else:
            inputs, kwargs = [], {}
            for entry in self._entries(node):
                inputs.append(self._ref(entry, one))
                if len(entry) > 3 and isinstance(entry[3], dict):
                    kwargs = {**kwargs, **entry[3]}
        states = tuple(self._refs(kwargs.get("initial_state"), one))
        masks = self._masks(kwargs.get("mask"), one)
        inputs += self._refs(kwargs.get("inputs", kwargs.get("sequences")), one)
        others = kwargs.keys() - {"initial_state", "inputs", "sequences", "mask"}
        for key in others:
            if kwargs[key] and (kwargs[key] is not True or key == "training"):
                raise UnsupportedModelError(
                    f"{self.where}: {one.where} is called with {key}={str(kwargs[key])[:80]}; "
                    "accepted: tensors, initial_state and mask"
                )
        options = frozenset(key for key in others if kwargs[key])
        return Call(tuple(inputs), states, masks, tuple(numbers), options)

    def _masks(self, value: Any, one: Layer) -> tuple[Ref | None, ...]:
        """One mask, or one for each input; none where all are null."""
        listed = value if isinstance(value, list) and not _is_entry(value) else [value]
        found = [next(iter(self._refs(part, one)), None) for part in listed]
        return tuple(found) if any(found) else ()

    def _free_call(self, node: Any, one: Layer) -> Call:
        """A call with any arguments: its tensors are its inputs, but for a mask."""
        if not isinstance(node, dict):
            return Call(tuple(self._tensors(node, one)))
        kwargs = _mapping(node.get("kwargs", {}), f"{self.where}: kwargs of {one.where}")
        others = {key: value for key, value in kwargs.items() if key != "mask"}
        inputs = self._tensors([node.get("args", []), others], one)
        return Call(tuple(inputs), masks=self._masks(kwargs.get("mask"), one))

    def _entries(self, node: Any) -> Iterator[list[Any]]:
        if _is_entry(node):
            yield node
        elif isinstance(node, Sequence) and not isinstance(node, str):
            for part in node:
                yield from self._entries(part)

    def _tensors(self, value: Any, one: Layer) -> Iterator[Ref]:
        """Every tensor among the arguments of a call, whatever else is there."""
        if _is_entry(value) and value[0] in self.known:
            yield self._ref(value, one)
            value = value[3] if len(value) > 3 else None
        elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            yield from self._refs(value, one)
            return
        if isinstance(value, list | dict):
            for part in value.values() if isinstance(value, dict) else value:
                yield from self._tensors(part, one)

    def _ref(self, entry: Sequence[Any], one: Layer | None = None) -> Ref:
        name, node, tensor = entry[:3]
        if name not in self.known or not (0 <= node < 1 << 20 and 0 <= tensor < 1 << 20):
            raise ModelFormatError(
                f"{self.where}: {one.where if one else 'the model'} refers to {list(entry[:3])}, "
                "which is no layer's output"
            )
        return Ref(name, node, tensor)

    def _refs(self, value: Any, one: Layer, numbers: list[float] | None = None) -> Iterator[Ref]:
        """Every tensor in a nested argument; plain numbers go into the list, if there is one."""
        if _is_entry(value):
            yield self._ref(value, one)
        elif isinstance(value, dict):
            if value.get("class_name") != "__keras_tensor__":
                raise UnsupportedModelError(
                    f"{self.where}: {one.where} is called with {str(value)[:80]}; accepted: tensors"
                )
            inner = _mapping(value.get("config"), f"{self.where}: a tensor of {one.where}")
            history = inner.get("keras_history")
            if not isinstance(history, list) or not _is_entry(history):
                raise ModelFormatError(f"{self.where}: a tensor of {one.where} has no history")
            yield self._ref(history, one)
        elif isinstance(value, list):
            for part in value:
                yield from self._refs(part, one, numbers)
        elif numbers is not None and type(value) in (int, float):
            numbers.append(float(value))
        elif value is not None:
            raise UnsupportedModelError(
                f"{self.where}: {one.where} is called with the constant {str(value)[:80]}; "
                "accepted: tensors"
            )

    def ends(self, value: Any, what: str) -> Iterator[Ref]:
        """Inputs or outputs of the network: one entry, a list of them, or a mapping to them."""
        if isinstance(value, dict):
            value = list(value.values())
        found = [self._ref(entry) for entry in self._entries(value)]
        if not found:
            raise ModelFormatError(f"{self.where}: {what} names no tensor")
        yield from found


def _is_entry(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 3
        and isinstance(value[0], str)
        and all(isinstance(v, int) and not isinstance(v, bool) for v in value[1:3])
    )
