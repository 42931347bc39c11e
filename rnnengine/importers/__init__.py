"""Reading model files. What a file is, is decided by its content, never by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Graph, Value
from rnnengine.importers.native import NativeFile, is_native, read_native
from rnnengine.importers.reading import read_file
from rnnengine.importers.safetensors import Content, is_safetensors, parse
from rnnengine.importers.safetensors import read_checkpoint as read_safetensors

if TYPE_CHECKING:
    from rnnengine.importers.checkpoint import Checkpoint
    from rnnengine.layers import Architecture, Replacement

__all__ = [
    "Source",
    "load_graph",
    "model_inputs",
    "module_content",
    "parse_graph",
    "read_checkpoint",
    "read_exported_graph",
    "read_native_file",
    "read_source",
]

Source: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO

_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive that is neither a PyTorch nor a Keras file"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file without a Keras model"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"{", "JSON text"),
    (0, b"<", "XML text"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "a model in onnxruntime's own format"),
)


_KERAS = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
_TORCH = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_source(source: Source, *, mmap: bool = False) -> tuple[Content, str]:
    """Return the whole content of a source and a name for it.

    Parameters
    ----------
    source : bytes-like, path, or binary file object
    mmap : bool
        Map the file instead of reading it.

    Raises
    ------
    OSError
        The file cannot be read.
    TypeError
        The source is none of these.
    UnsupportedModelError
        ``mmap`` is asked for, and the source is no path of a ``.rnne`` file.
    """
    if isinstance(source, (str, os.PathLike)):
        return read_file(source, mmap=mmap), os.fspath(source)
    if mmap:
        raise UnsupportedModelError(
            f"mmap=True needs the path of a file, got {type(source).__name__}"
        )
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "<bytes>"
    if hasattr(source, "read"):
        content = source.read()
        if not isinstance(content, bytes):
            raise TypeError("source is a text file object; open the file in binary mode ('rb')")
        return content, str(getattr(source, "name", "<file>"))
    raise TypeError(
        f"source is {type(source).__name__}; expected a path, bytes or a binary file object"
    )


def read_checkpoint(content: Content, name: str, key: str | None = None) -> Checkpoint | None:
    """Read a file of weights without a graph; None where the content is no such file.

    Parameters
    ----------
    content : bytes-like
    name : str
        For messages.
    key : str, optional
        Which part of a PyTorch file holds the weights, where it has several.

    Raises
    ------
    ModelFormatError, UnsupportedModelError, UnsafeFileError
        As the reader of the format does.
    """
    found = _read_checkpoint(content, name, key)
    if key is not None and found is not None and found.framework != "torch":
        raise UnsupportedModelError(
            f"{name}: {found.framework} weights have no parts that key={key!r} could choose from; "
            "leave it out. A part of the names is picked by prefix="
        )
    return found


def _read_checkpoint(content: Content, name: str, key: str | None) -> Checkpoint | None:
    if is_safetensors(content):
        return read_safetensors(content, name)
    content = bytes(content)
    if content.startswith(b"PK\x03\x04"):
        from rnnengine.importers import npz

        if npz.is_npz(content):
            return npz.read_checkpoint(content, name)
    if content.startswith(_KERAS):
        from rnnengine.importers.keras import is_keras
        from rnnengine.importers.keras.checkpoint import read_checkpoint as read_keras

        if is_keras(content):
            return read_keras(content, name)
    if content.startswith(_TORCH) or content[257:262] == b"ustar":
        from rnnengine.importers import torch

        if torch.recognises(content):
            return torch.read_checkpoint(content, name, key)
    return None


def read_exported_graph(
    content: Content, name: str, sizes: Mapping[str, int] | None = None
) -> Graph | None:
    """Read the graph of a ``.pt2`` file; None where the content is no such file.

    Raises
    ------
    ModelFormatError, UnsupportedModelError
        The file is damaged, or calls something that is not supported.
    """
    content = bytes(content)
    if not content.startswith(b"PK\x03\x04"):
        return None
    from rnnengine.importers import torch

    return torch.exported_graph(content, name, sizes) if torch.recognises(content) else None


def read_native_file(content: Content, name: str, *, verify: bool = False) -> NativeFile | None:
    """Read a ``.rnne`` file; None where the content is no such file.

    Raises
    ------
    ModelFormatError, UnsupportedModelError
        The file is damaged, or of a newer format.
    """
    header = parse(content, name) if is_safetensors(content) else None
    if header is None or not is_native(header):
        return None
    return read_native(content, name, header, verify_data=verify)


def load_graph(
    source: Source,
    *,
    constants: Mapping[str, Any] | None = None,
    external_data: str | os.PathLike[str] | None = None,
    architecture: Architecture | None = None,
    layer: str | None = None,
    prefix: str = "",
    replacements: Mapping[str, Replacement] | None = None,
    key: str | None = None,
    verify: bool = False,
) -> Graph:
    """Read a model file into a graph.

    Parameters
    ----------
    source : bytes-like, path, or binary file object
        A ``.rnne`` file, an ONNX model, a Keras model with its configuration, a ``.pt2`` file of
        torch.export, or a file of weights: PyTorch, safetensors, npz.
    constants : mapping of str to array_like, optional
        Values that graph inputs are fixed to.
    external_data : path, optional
        Directory whose plain files the model's tensors may refer to. Without it such a model is
        refused, because a model file must not make the reader open others.
    architecture : Layer, Tensor or mapping of str to Tensor, optional
        The network that the weights of a file without a graph belong to.
    layer : str, optional
        Path of the one recurrent layer of a file of weights that is wanted.
    prefix : str, optional
        Part of a file of weights that ``architecture`` or ``layer`` is about.
    replacements : mapping of str to Replacement, optional
        What stands for layers of a Keras model that cannot be read, by their name or class.
    key : str, optional
        Which object of a PyTorch file holds the weights, where several could: ``"ema"``.
    verify : bool
        Hold the data of a ``.rnne`` file against the hash in it.

    Returns
    -------
    Graph
        As imported: constant computations are still in it.

    Raises
    ------
    ModelFormatError
        The content is no ONNX model, is damaged, or contradicts itself.
    UnsupportedModelError
        The model, or ``constants``, asks for something that is not supported; the message names it.
    UnsafeFileError
        The model refers to files outside ``external_data``.
    """
    content, name = read_source(source)
    return parse_graph(
        content,
        name,
        constants=constants,
        external_data=external_data,
        architecture=architecture,
        layer=layer,
        prefix=prefix,
        replacements=replacements,
        key=key,
        verify=verify,
    )


def parse_graph(
    content: Content,
    name: str,
    *,
    constants: Mapping[str, Any] | None = None,
    external_data: str | os.PathLike[str] | None = None,
    architecture: Architecture | None = None,
    layer: str | None = None,
    prefix: str = "",
    replacements: Mapping[str, Replacement] | None = None,
    key: str | None = None,
    verify: bool = False,
    sizes: Mapping[str, int] | None = None,
) -> Graph:
    """Read the content of a model file, as :func:`load_graph` does.

    Parameters
    ----------
    content : bytes or memoryview
    name : str
        For messages.
    constants, external_data, architecture, layer, prefix, replacements, key, verify
        As for :func:`load_graph`.
    sizes : mapping of str to int, optional
        Numbers for symbolic sizes of the inputs of an ONNX or Keras model.
    """
    if not content:
        raise ModelFormatError(f"{name}: the file is empty; expected a model")
    for_onnx = {"constants": constants, "external_data": external_data, "sizes": sizes}
    for_keras = {"replacements": replacements}
    for_weights: dict[str, Any] = {"architecture": architecture, "layer": layer}
    for_weights |= {"prefix": prefix, "key": key}
    native = read_native_file(content, name, verify=verify)
    if native is not None:
        options = {**for_onnx, **for_weights, **for_keras}
        _refuse(name, "a .rnne file, which is complete, takes", options)
        return native.graph
    if isinstance(content, bytes) and content.startswith(_KERAS):
        from rnnengine.importers.keras import import_keras, is_keras

        if is_keras(content):
            _refuse(name, "a Keras file takes", {**for_onnx, "sizes": None})
            if not any(for_weights.values()):
                return import_keras(content, name, replacements=replacements, sizes=sizes)
    exported = None if any(for_weights.values()) else read_exported_graph(content, name, sizes)
    if exported is not None:
        _refuse(name, "an exported program takes", {**for_onnx, "sizes": None, **for_keras})
        return exported
    checkpoint = read_checkpoint(content, name, key=key)
    if checkpoint is not None:
        from rnnengine.importers.architecture import build_graph

        _refuse(name, "a file of weights takes", {**for_onnx, **for_keras})
        return build_graph(checkpoint, architecture, prefix=prefix, layer=layer)
    content = bytes(content)
    for offset, magic, what in _FOREIGN:
        if content[offset : offset + len(magic)] == magic:
            raise UnsupportedModelError(
                f"{name}: {what}; accepted: ONNX, Keras, PyTorch, safetensors, npz and .rnne"
            )
    _refuse(name, "an ONNX model takes", {**for_weights, **for_keras})
    from rnnengine.importers.onnx import import_onnx

    return import_onnx(content, name, constants=constants, external_data=external_data, sizes=sizes)


def model_inputs(
    content: Content,
    name: str,
    *,
    constants: Mapping[str, Any] | None = None,
    replacements: Mapping[str, Replacement] | None = None,
) -> tuple[Value, ...]:
    """Inputs of an ONNX, Keras or exported model as declared, but those in ``constants``."""
    if not isinstance(content, bytes):
        raise UnsupportedModelError(f"{name}: no model whose sizes are open")
    if content.startswith(_KERAS):
        from rnnengine.importers.keras import is_keras, keras_inputs

        if is_keras(content):
            return keras_inputs(content, name, replacements=replacements)
    if content.startswith(_TORCH):
        from rnnengine.importers import torch

        return torch.exported_inputs(content, name)
    from rnnengine.importers.onnx import onnx_inputs

    return onnx_inputs(content, name, constants=constants)


def module_content(
    module: Any, example_inputs: Any, *, kwargs: Mapping[str, Any] | None, dynamic_shapes: Any
) -> tuple[bytes, str]:
    """A live ``torch.nn.Module`` as a ``.pt2`` file, and a name for it."""
    from rnnengine.importers.torch.live import export_module

    return export_module(module, example_inputs, kwargs=kwargs, dynamic_shapes=dynamic_shapes)


def _refuse(name: str, what: str, options: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing for the kind of file at hand."""
    given = [option for option, value in options.items() if value]
    if given:
        raise UnsupportedModelError(f"{name}: {what} no {' or '.join(given)}; leave it out")
