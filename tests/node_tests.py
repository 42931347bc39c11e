"""ONNX's own tests of single operators, run on the engine, and the record of what is refused.

    python tests/node_tests.py --write

makes ``tests/data/onnx_node_tests.json`` anew. Each test is tried until it passes,

``run``
    as it stands;
``fixed``
    with its scalars and its integer and boolean inputs (axes, shapes, indices, conditions) given to
    ``rn.load`` as constants, because sizes must be known when a model is loaded;

and is ``refused`` otherwise. A refusal is judged by what ``rn.load`` says with those inputs fixed:
it must be an error of the engine's own and match one of :data:`REASONS`. With all inputs given as
constants, a refused test may be computed while loading; the numbers are held to it then. Tests with
other operators must be refused as well.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.table import CONVERTERS

__all__ = ["RECORD", "Found", "counts", "examine", "of_what_is_implemented", "sentence"]

Array = np.ndarray[Any, Any]

RECORD = Path(__file__).parent / "data" / "onnx_node_tests.json"
IMPLEMENTED = frozenset(CONVERTERS) | {"If", "Loop", "Scan"}
TOLERANCE = 1e-5
"""Of max(1, largest magnitude), besides the tolerance that the test itself states."""

ROUNDED = frozenset({"test_averagepool_2d_ceil_last_window_starts_on_pad"})
"""Tests whose expected values are written down to four digits: only their own tolerance holds."""

_TYPES = r"(u?int(2|4|8|16|32|64)|bfloat16|float(4|8|16|64)\w*|string|number \d+)"
REASONS = {
    "element type": rf"(input|output) '[^']*' has element type {_TYPES}; accepted",
    "element type inside": rf"(of {_TYPES} is needed|Cast from float32 to float64) at run time",
    "cast to element type": rf"attribute 'to' has element type {_TYPES}; accepted:",
    "cast without saturation": r"\(Cast(Like)?\): attribute 'saturate' is 0; accepted: 1",
    "sequence or optional": r"is of type (sequence|optional)_type; accepted:",
    "training": r"'training_mode' is not the constant false|outputs of the training mode",
    "three spatial axes": r"over 3 spatial axes; accepted at run time:",
    "indices of the maximum": r"\(MaxPool\): output '[^']*' is asked for; accepted:",
    "Mod of floats by floor": r"\(Mod\): attribute 'fmod' is 0 and the operands are float",
    "power of integers": r"\(Pow\): Pow: Pow of int(32|64) at run time; accepted:",
    "norm in a pool": r"\(LpPool\): LpPool: LpPool with p=\d+; accepted at run time:",
    "condition on data": r"\((If|Loop)\): .*condition.* depends on data; accepted:",
    "size from data": r"(Slice: starts|Range: a bound) is computed from data; it must follow",
    "integers of an activation": r"belongs to the integers of a quantised|is not made by QuantizeL",
    "scale from data": r"\((De)?[Qq](uantize)?Linear\w*\): scale '[^']*' is computed from data",
    "blocks of scales": r"\((Deq|Q)uantizeLinear\): attribute 'block_size' is \d+; accepted: 0",
    "old opset": r"model uses opset [1-6]; accepted:",
    "uint8 pool": r"\(MaxPool\): MaxPool: input X has element type uint8; accepted:",
}
"""Why a test may be refused: a name, and what the message says."""


@dataclass
class Found:
    """Names of the tests by what became of them; refusals by reason, faults by what was wrong."""

    run: list[str] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    others: int = 0
    faults: dict[str, str] = field(default_factory=dict)


def of_what_is_implemented(model: Any) -> bool:
    """Whether a model has operators of :data:`IMPLEMENTED` only."""
    return all(domain in ("", "ai.onnx") and op in IMPLEMENTED for domain, op in _ops(model.graph))


def _ops(graph: Any) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _ops(attribute.g)


def examine() -> Found:
    """Run every node test of the installed onnx package."""
    found = Found()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the overflows that the tests provoke
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    for case in cases:
        content = case.model.SerializeToString()
        if not of_what_is_implemented(case.model):
            found.others += 1
            _must_refuse(found, case.name, content, {})
            continue
        try:
            for how in ("run", "fixed"):
                if _passes(case, content, how):
                    getattr(found, how).append(case.name)
                    break
            else:
                _must_refuse(found, case.name, content, _fixed(case), REASONS)
                _passes(case, content, "folded")
        except Exception as error:  # whatever is raised that is no refusal
            found.faults[case.name] = f"{type(error).__name__}: {str(error)[:500]}"
    return found


def _must_refuse(
    found: Found,
    name: str,
    content: bytes,
    fixed: Mapping[str, Array],
    reasons: Mapping[str, str] | None = None,
) -> None:
    """Note the reason of a refusal; a model that loads, or another error, is a fault."""
    try:
        rn.load(content, constants=fixed)
    except (UnsupportedModelError, ModelFormatError) as error:
        if reasons is None:
            if not isinstance(error, UnsupportedModelError):
                found.faults[name] = f"{type(error).__name__}: {error}"
            return
        for reason, pattern in reasons.items():
            if re.search(pattern, str(error)):
                found.refused.setdefault(reason, []).append(name)
                return
        found.faults[name] = f"refused for no known reason: {error}"
    except Exception as error:  # a refusal must be typed
        found.faults[name] = f"{type(error).__name__}: {error}"
    else:
        found.faults[name] = "loads, but does not run as it stands"


def _fixed(case: Any) -> dict[str, Array]:
    """The scalars, integers and booleans among the inputs of a test."""
    arrays = zip(case.model.graph.input, case.data_sets[0][0], strict=False)
    feeds = {info.name: _array(value) for info, value in arrays}
    return {name: value for name, value in feeds.items() if _decides(value)}


def _decides(value: Array) -> bool:
    return value.ndim == 0 or value.dtype.kind in "iub"


def _passes(case: Any, content: bytes, how: str) -> bool:
    """Whether a test loads; its outputs are then held to what it expects."""
    graph = case.model.graph
    for inputs, outputs in case.data_sets:
        feeds = {info.name: _array(v) for info, v in zip(graph.input, inputs, strict=False)}
        fixed = {
            name: value
            for name, value in feeds.items()
            if how == "folded" or (how == "fixed" and _decides(value))
        }
        try:
            model = rn.load(content, constants=fixed)
        except (UnsupportedModelError, ModelFormatError):
            return False
        result = model.run({n: v for n, v in feeds.items() if n not in fixed})
        found = result if isinstance(result, dict) else {model.outputs[0].name: result}
        for info, expected in zip(graph.output, outputs, strict=True):
            _same(found[info.name], _array(expected), case)
    return True


def _array(value: Any) -> Array:
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _same(got: Array, expected: Array, case: Any) -> None:
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape), (got, expected)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected)
        return
    np.testing.assert_allclose(got, expected, rtol=case.rtol, atol=case.atol)
    if case.name in ROUNDED:
        return
    largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=1.0))
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE * largest)


def counts(record: dict[str, Any]) -> dict[str, int]:
    """How many tests are in each group of a record."""
    refused = sum(len(names) for names in record["refused"].values())
    return {
        "run": record["run"],
        "fixed": len(record["fixed"]),
        "refused": refused,
        "all": record["run"] + len(record["fixed"]) + refused,
    }


def sentence(record: dict[str, Any]) -> str:
    """What the README says of a record."""
    n = counts(record)
    return (
        f"Of the {n['all']} node tests of onnx {record['onnx']} that have only operators of the "
        f"engine, {n['run'] + n['fixed']} pass: {n['run']} as they stand, {n['fixed']} with their "
        f"axes, shapes and scalars fixed at load. The other {n['refused']} are refused by name, "
        f"{len(record['refused']['element type'])} of them for the type of an input or output."
    )


def main() -> None:
    """Write the record; faults end the program."""
    import onnx

    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    found = examine()
    if found.faults:
        raise SystemExit("\n".join(f"{name}: {what}" for name, what in found.faults.items()))
    record = {
        "onnx": onnx.__version__,
        "run": len(found.run),
        "fixed": sorted(found.fixed),
        "refused": {reason: sorted(names) for reason, names in sorted(found.refused.items())},
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(sentence(record))


if __name__ == "__main__":
    main()
