"""Reading model files. What a file is, is decided by its content, never by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, BinaryIO, TypeAlias

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Graph, Value

__all__ = ["Source", "load_graph", "model_inputs", "parse_graph", "read_source"]

Source: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO

_KERAS = (b"\x89HDF\r\n\x1a\n", b"PK\x03\x04")
"""HDF5, and zip archives, which may be PyTorch's as well."""

_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive (a PyTorch file, perhaps)"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x80\x02", "a pickle (a PyTorch file, perhaps)"),
    (0, b"\x80\x03", "a pickle"),
    (0, b"\x80\x04", "a pickle"),
    (0, b"\x80\x05", "a pickle"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"{", "JSON text"),
    (0, b"<", "XML text"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "a model in onnxruntime's own format"),
)


def read_source(source: Source) -> tuple[bytes, str]:
    """Return the whole content of a source and a name for it.

    Parameters
    ----------
    source : bytes-like, path, or binary file object

    Raises
    ------
    OSError
        The file cannot be read.
    TypeError
        The source is none of these.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return file.read(), os.fspath(source)
    if hasattr(source, "read"):
        content = source.read()
        if not isinstance(content, bytes):
            raise TypeError("source is a text file object; open the file in binary mode ('rb')")
        return content, str(getattr(source, "name", "<file>"))
    raise TypeError(
        f"source is {type(source).__name__}; expected a path, bytes or a binary file object"
    )


def load_graph(
    source: Source,
    *,
    constants: Mapping[str, Any] | None = None,
    external_data: str | os.PathLike[str] | None = None,
) -> Graph:
    """Read a model file into a graph.

    Parameters
    ----------
    source : bytes-like, path, or binary file object
        An ONNX model, or a Keras model with its configuration: `.keras`, or HDF5 of any Keras.
    constants : mapping of str to array_like, optional
        Values that graph inputs are fixed to.
    external_data : path, optional
        Directory whose plain files the model's tensors may refer to. Without it such a model is
        refused, because a model file must not make the reader open others.

    Returns
    -------
    Graph
        As imported: constant computations are still in it.

    Raises
    ------
    ModelFormatError
        The content is no model, is damaged, or contradicts itself.
    UnsupportedModelError
        The model, or ``constants``, asks for something that is not supported; the message names it.
    UnsafeFileError
        The model refers to files outside ``external_data``.
    """
    content, name = read_source(source)
    return parse_graph(content, name, constants=constants, external_data=external_data)


def parse_graph(
    content: bytes,
    name: str,
    *,
    constants: Mapping[str, Any] | None = None,
    external_data: str | os.PathLike[str] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Graph:
    """Read the content of a model file, as :func:`load_graph` does.

    Parameters
    ----------
    content : bytes
    name : str
        For messages.
    constants, external_data
        As for :func:`load_graph`.
    sizes : mapping of str to int, optional
        Numbers for symbolic sizes of the inputs.
    """
    if not content:
        raise ModelFormatError(f"{name}: the file is empty; expected an ONNX or Keras model")
    if content.startswith(_KERAS):
        from rnnengine.importers.keras import import_keras, is_keras

        if is_keras(content):
            _refuse_onnx_options(
                name, constants=constants, external_data=external_data, sizes=sizes
            )
            return import_keras(content, name)
    for offset, magic, what in _FOREIGN:
        if content[offset : offset + len(magic)] == magic:
            raise UnsupportedModelError(
                f"{name}: not an ONNX model but {what}; accepted: ONNX, Keras"
            )
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content):
        raise UnsupportedModelError(f"{name}: not an ONNX model but a safetensors file")
    from rnnengine.importers.onnx import import_onnx

    return import_onnx(content, name, constants=constants, external_data=external_data, sizes=sizes)


def model_inputs(
    content: bytes, name: str, *, constants: Mapping[str, Any] | None = None
) -> tuple[Value, ...]:
    """Inputs of a model as its file declares them, those fixed by ``constants`` left out."""
    from rnnengine.importers.onnx import onnx_inputs

    return onnx_inputs(content, name, constants=constants)


def _refuse_onnx_options(name: str, **options: Any) -> None:
    """Refuse what only an ONNX model can be given."""
    for option, value in options.items():
        if value:
            raise UnsupportedModelError(
                f"{name}: {option} is for ONNX models; a Keras model takes none"
            )
