"""Which opset versions are understood, and what happens with newer ones."""

from __future__ import annotations

from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError

__all__ = ["NEWEST", "OLDEST", "check_operator", "default_opset"]

OLDEST = 7
"""First opset in which RNN, GRU and LSTM have their present form and broadcasting is NumPy's."""

NEWEST = 28
"""Newest opset whose operators were compared with this importer."""

_RECURRENT = ("RNN", "GRU", "LSTM")


def default_opset(imports: list[tuple[str, int]]) -> int:
    """Version of the default operator set among the (domain, version) pairs of a model."""
    versions = {version for domain, version in imports if domain in ("", "ai.onnx")}
    if imports and not versions:
        domains = ", ".join(repr(domain) for domain, _ in imports)
        raise UnsupportedModelError(
            f"model imports the operator sets {domains} and not the default one; accepted: "
            "operators of the default domain"
        )
    if len(versions) != 1:
        raise ModelFormatError(
            f"model imports {len(versions)} versions of the default operator set; expected 1"
        )
    (version,) = versions
    if version < OLDEST:
        raise UnsupportedModelError(
            f"model uses opset {version}; accepted: {OLDEST} and newer (in older ones RNN, GRU and "
            "LSTM have another form); convert it with onnx.version_converter"
        )
    return version


def check_operator(op: str, opset: int, where: str) -> None:
    """Refuse an operator that an opset newer than NEWEST may have changed."""
    if opset <= NEWEST:
        return
    from onnx import defs

    if defs.onnx_opset_version() < opset:
        raise UnsupportedModelError(
            f"model uses opset {opset}; accepted: up to {NEWEST}, and newer ones that the "
            f"installed onnx package knows (it knows {defs.onnx_opset_version()})"
        )
    schema = defs.get_schema(op, opset, "")
    if schema.since_version <= NEWEST:
        return
    if op in _RECURRENT and _form(schema) == _form(defs.get_schema(op, NEWEST, "")):
        return
    raise UnsupportedModelError(
        f"{where}: {op} changed in opset {schema.since_version}; accepted: its form of opset "
        f"{NEWEST} and older"
    )


def _form(schema: Any) -> tuple[Any, ...]:
    """What a model can say with an operator: operands, attributes, their types and defaults."""
    attributes = sorted(
        (name, str(a.type), a.default_value.SerializeToString())
        for name, a in schema.attributes.items()
    )
    operands = [(o.name, str(o.option)) for o in (*schema.inputs, *schema.outputs)]
    return (attributes, operands)
