"""Keras files without Keras: `.keras` archives, whole-model HDF5 files, and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Graph, Value
from rnnengine.importers.keras import config
from rnnengine.importers.keras.archive import is_keras_archive, read_archive
from rnnengine.importers.keras.graph import config_inputs, import_config
from rnnengine.importers.keras.hdf5 import MAGIC, Group, read_hdf5
from rnnengine.importers.keras.records import Config
from rnnengine.importers.keras.version import Replacements, Version
from rnnengine.layers import Replacement

__all__ = ["import_keras", "import_weights", "is_keras", "keras_inputs"]


def is_keras(content: bytes) -> bool:
    """Whether a file is HDF5 or a `.keras` archive."""
    return content.startswith(MAGIC) or is_keras_archive(content)


def import_keras(
    content: bytes,
    name: str,
    *,
    replacements: Mapping[str, Replacement] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Graph:
    """Read a Keras model with its configuration and weights.

    Parameters
    ----------
    content : bytes
        A `.keras` archive of Keras 3 or late tf.keras, or an HDF5 file of any Keras.
    name : str
        Name of the file for messages.
    replacements : mapping of str to Replacement, optional
        By name or class of a layer: what stands for it. See :mod:`rnnengine.layers.replacing`.
    sizes : mapping of str to int, optional
        Numbers for symbolic sizes of the inputs.

    Returns
    -------
    Graph

    Raises
    ------
    ModelFormatError
        The file is damaged or contradicts itself.
    UnsupportedModelError
        It has weights only, or a layer that is not supported; the message names it.
    UnsafeFileError
        It refers to other files.
    """
    raw, root, version = _read(content, name, replacements)
    return import_config(raw, root, version, name, sizes)


def keras_inputs(
    content: bytes, name: str, *, replacements: Mapping[str, Replacement] | None = None
) -> tuple[Value, ...]:
    """Inputs of a model as :func:`import_keras` gives them, without building it."""
    raw, _, version = _read(content, name, replacements)
    return config_inputs(raw, version, name)


def _read(
    content: bytes, name: str, replacements: Mapping[str, Replacement] | None
) -> tuple[Config, Group, Version]:
    """Configuration, weights and version of a file."""
    given = Replacements(replacements)
    if is_keras_archive(content):
        archive = read_archive(content, name)
        metadata = config.parse(archive.metadata, f"{name}: metadata.json")
        raw = config.parse(archive.config, f"{name}: config.json")
        version = replace(_version(metadata.get("keras_version"), name), replacements=given)
        return raw, read_hdf5(archive.weights, name), version
    root = read_hdf5(content, name)
    text = root.attrs.get("model_config")
    if text is None:
        raise UnsupportedModelError(
            f"{name}: holds weights and no model configuration; give the architecture, or save the "
            "whole model (model.save)"
        )
    if not isinstance(text, str):
        raise ModelFormatError(f"{name}: model_config is {type(text).__name__}; expected text")
    raw = config.parse(text, f"{name}: model_config")
    return raw, root, replace(file_version(root, name), replacements=given)


def import_weights(
    content: bytes,
    configuration: bytes | str,
    name: str,
    *,
    keras_version: str | None = None,
    replacements: Mapping[str, Replacement] | None = None,
) -> Graph:
    """Read a file of weights beside the JSON text of the model (``model.to_json()``).

    Parameters
    ----------
    content : bytes
        A weights file: `.weights.h5`, or HDF5 of Keras 1 and 2.
    configuration : str
        JSON with ``class_name`` and ``config``.
    name : str
        Name of the file for messages.
    keras_version : str, optional
        Of the Keras that wrote it, where neither the JSON text nor the weights say so.
    replacements : mapping of str to Replacement, optional
        As for :func:`import_keras`.

    Returns
    -------
    Graph

    Raises
    ------
    ModelFormatError, UnsupportedModelError, UnsafeFileError
        As for :func:`import_keras`.
    """
    root = read_hdf5(content, name)
    raw = config.parse(configuration, f"{name}: configuration")
    said = keras_version or raw.get("keras_version")
    found = file_version(root, name)
    version = replace(_version(said, name), theano=found.theano) if said else found
    version = replace(version, replacements=Replacements(replacements))
    return import_config(raw, root, version, name)


def file_version(root: Group, name: str) -> Version:
    """Version of the Keras that wrote an HDF5 file.

    Weights of Keras 3 carry none, but have a layout that no other has.
    """
    inner = root.groups.get("model_weights", root)
    found = root.attrs.get("keras_version", inner.attrs.get("keras_version"))
    if found is None and "layers" in root.groups:
        return Version(3, 0)
    backend = root.attrs.get("backend", inner.attrs.get("backend"))
    return replace(_version(found, name), theano=backend == "theano")


def _version(text: Any, name: str) -> Version:
    if text is not None and not isinstance(text, str):
        raise ModelFormatError(f"{name}: keras_version is {text!r}; expected text")
    return Version.parse(text)
