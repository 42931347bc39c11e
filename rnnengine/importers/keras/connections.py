"""Who feeds whom in a Keras configuration: ``inbound_nodes`` in the dialects of Keras 2 and 3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras.records import Call, Config, Layer, Ref, listed, mapping

__all__ = ["Connections"]


class Connections:
    """Reads `inbound_nodes` in both dialects."""

    def __init__(self, known: set[str], where: str) -> None:
        self.known = known
        self.where = where

    def layer(self, entry: Config, one: Layer) -> Layer:
        """The layer with its calls."""
        nodes = listed(
            entry.get("inbound_nodes", []), f"{self.where}: inbound_nodes of {one.where}"
        )
        calls = tuple(self._call(node, one) for node in nodes)
        return replace(one, calls=calls)

    def _call(self, node: Any, one: Layer) -> Call:
        if one.replacement is not None:
            return self._free_call(node, one)
        numbers: list[float] = []
        if isinstance(node, dict):
            kwargs = mapping(node.get("kwargs", {}), f"{self.where}: kwargs of {one.where}")
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
        parts = value if isinstance(value, list) and not _is_entry(value) else [value]
        found = [next(iter(self._refs(part, one)), None) for part in parts]
        return tuple(found) if any(found) else ()

    def _free_call(self, node: Any, one: Layer) -> Call:
        """A call with any arguments: its tensors are its inputs, but for a mask."""
        if not isinstance(node, dict):
            return Call(tuple(self._tensors(node, one)))
        kwargs = mapping(node.get("kwargs", {}), f"{self.where}: kwargs of {one.where}")
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
            inner = mapping(value.get("config"), f"{self.where}: a tensor of {one.where}")
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
