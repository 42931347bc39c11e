"""PyTorch files without PyTorch: weights, and what the file says of its modules."""

from __future__ import annotations

from collections.abc import Mapping

from rnnengine.errors import ModelFormatError
from rnnengine.graph import Graph, Value
from rnnengine.importers.checkpoint import Checkpoint
from rnnengine.importers.torch.archive import Archive
from rnnengine.importers.torch.choose import choose
from rnnengine.importers.torch.container import find_pickle, read_content
from rnnengine.importers.torch.exported import is_exported, open_inputs, read_exported, read_graph
from rnnengine.importers.torch.weights import finished

__all__ = ["exported_graph", "exported_inputs", "read_checkpoint", "recognises"]


def recognises(content: bytes) -> bool:
    """Whether a file may be one of PyTorch's, told by its first bytes and its members."""
    if content[:4] == b"PK\x03\x04":
        try:
            archive = Archive(content, "")
            return is_exported(archive) or find_pickle(archive, "") is not None
        except ModelFormatError:
            return b"data.pkl" in content[:4096] or b"data.pkl" in content[-65536:]
    if content[:1] == b"\x80" and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    return content[257:262] == b"ustar"


def exported_graph(
    content: bytes, name: str, sizes: Mapping[str, int] | None = None
) -> Graph | None:
    """Read the graph of an exported program; None where the content is something else.

    Raises
    ------
    ModelFormatError
        It is damaged or contradicts itself.
    UnsupportedModelError
        It calls an operator, or has an argument, that is not supported; names node and operator.
    """
    if content[:4] != b"PK\x03\x04":
        return None
    try:
        archive = Archive(content, name)
        return read_graph(archive, name, len(content), sizes) if is_exported(archive) else None
    except RecursionError:
        raise ModelFormatError(f"{name}: nested too deeply; refused") from None


def exported_inputs(content: bytes, name: str) -> tuple[Value, ...]:
    """Inputs of an exported program, with free sizes as symbols."""
    return open_inputs(Archive(content, name), name)


def read_checkpoint(content: bytes, name: str, key: str | None = None) -> Checkpoint:
    """Read the weights of a PyTorch file.

    Read are zip archives of ``torch.save``, the pickles in a row written before PyTorch 1.6, tar
    archives of PyTorch 0.1, plain pickles of tensors or arrays, TorchScript archives (weights and
    constants) and exported programs (``.pt2``). The pickle in them is interpreted as data;
    nothing it names is imported or called.

    Parameters
    ----------
    content : bytes
        The whole file.
    name : str
        Name of the file, for messages.
    key : str, optional
        Which part holds the weights, where the file has several, such as ``'ema'``; keys of
        nested dictionaries are joined by dots.

    Returns
    -------
    Checkpoint
        Names are those of the model's ``state_dict``, without the ``module.``, ``_orig_mod.`` and
        ``model.`` that wrappers put before them. weight_norm and spectral_norm are folded;
        quantised weights are :class:`~rnnengine.graph.integers.ScaledIntegers`, with the attribute
        ``quantized`` on their module. Classes of PyTorch's own go by their bare name in
        ``modules``, others by their full one.

    Raises
    ------
    ModelFormatError
        The file is damaged or contradicts itself.
    UnsafeFileError
        Its pickle names or calls something no model file needs; names it.
    UnsupportedModelError
        It has no weights, several parts could be the weights, or a type is not supported.
    """
    try:
        if content[:4] == b"PK\x03\x04":
            archive = Archive(content, name)
            if is_exported(archive):
                return read_exported(archive, name, len(content), key)
        held = read_content(content, name)
        found = choose(held.root, held.code, name, key)
        tensors, modules = finished(found, held.stored, name)
    except RecursionError:
        raise ModelFormatError(f"{name}: nested too deeply; refused") from None
    return Checkpoint(tensors, modules, "torch", name)
