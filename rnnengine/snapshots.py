"""Snapshots: the state of a stream as bytes that know which model they belong to.

A snapshot is a safetensors file of the states by name. Its metadata has one key, ``rnnengine``,
whose value is JSON: ``format`` 1, ``model`` (the fingerprint of the compiled model), ``sha256`` of
the data and, unless it is float32, ``compute_type``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, StreamStateLost, UnsupportedModelError
from rnnengine.importers.safetensors import Header, parse, tensor, write

__all__ = ["read_snapshot", "write_snapshot"]

Array = np.ndarray[Any, Any]

FORMAT = 1
_KEY = "rnnengine"
_NAME = "snapshot"


def write_snapshot(states: dict[str, Array], model: str, compute_type: str = "float32") -> bytes:
    """Write states of the model with the given fingerprint and compute type."""
    said = {"format": FORMAT, "model": model, "sha256": _digest(states)}
    if compute_type != "float32":
        said["compute_type"] = compute_type
    return write(states, {_KEY: json.dumps(said)})


def read_snapshot(blob: bytes, model: str, compute_type: str = "float32") -> dict[str, Array]:
    """Read states that belong to the model with the given fingerprint and compute type.

    Raises
    ------
    StreamStateLost
        The blob is damaged, no snapshot, of a newer format, of another model, or of another compute
        type.
    TypeError
        It is no bytes.
    """
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise TypeError(f"restore: expected the bytes of a snapshot, got {type(blob).__name__}")
    content = bytes(blob)
    try:
        header = parse(content, _NAME)
        said = _said(header)
    except (ModelFormatError, UnsupportedModelError, ValueError, RecursionError) as error:
        raise StreamStateLost(f"restore: this is no snapshot, or a damaged one: {error}") from None
    if said.get("format") != FORMAT:
        raise StreamStateLost(
            f"restore: the snapshot has format {str(said.get('format'))[:80]}; this version reads "
            f"{FORMAT}"
        )
    computed = str(said.get("compute_type", "float32"))[:80]
    if computed != compute_type:
        raise StreamStateLost(
            f"restore: the snapshot is of a model computed in {computed}, this one is computed in "
            f"{compute_type}; states go over as numbers, by stream.state"
        )
    if said.get("model") != model:
        raise StreamStateLost(
            "restore: the snapshot is of another model, or of this one compiled by another version"
        )
    states = {name: tensor(content, header, name) for name in header.tensors}
    if said.get("sha256") != _digest(states):
        raise StreamStateLost("restore: the snapshot is damaged: its numbers have another sha256")
    return states


def _said(header: Header) -> dict[str, Any]:
    said = json.loads(header.metadata.get(_KEY, "null"))
    if not isinstance(said, dict):
        raise ValueError("nothing says what it is a snapshot of")
    return said


def _digest(states: dict[str, Array]) -> str:
    whole = hashlib.sha256()
    for name, value in sorted(states.items()):
        whole.update(f"{name} {value.dtype.str} {value.shape} ".encode())
        whole.update(np.ascontiguousarray(value).data)
    return whole.hexdigest()
