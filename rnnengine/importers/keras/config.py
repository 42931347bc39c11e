"""A Keras configuration as data: layers, and the networks they make.

Sequential and Functional networks of Keras 1, 2, tf.keras and 3 come out alike. Nothing in it is
looked up, imported or called.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras.connections import Connections
from rnnengine.importers.keras.records import Call, Config, Layer, Network, Ref, listed, mapping
from rnnengine.importers.keras.version import Version

__all__ = ["NETWORKS", "OPERATION", "layer", "network", "parse"]

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
    return mapping(found, where)


def layer(raw: Any, version: Version, where: str) -> Layer:
    """Read the configuration of one layer.

    Raises
    ------
    ModelFormatError
        It has no class name or no configuration.
    """
    entry = mapping(raw, where)
    kind = entry.get("class_name")
    if not isinstance(kind, str):
        raise ModelFormatError(f"{where} has no class_name")
    kind = kind.rsplit(">", 1)[-1] if kind.startswith("Keras>") else kind
    config = entry.get("config")
    config = (
        {"layers": config} if isinstance(config, list) else mapping(config, f"{where} ({kind})")
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
    entries = listed(raw.config.get("layers"), f"{where}: 'layers' of {raw.name!r}")
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
    reader = Connections(known, where)
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
