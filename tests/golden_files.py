"""The golden files: model files of many frameworks, and what they compute."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import rnnengine as rn

__all__ = ["FILES", "FOLDERS", "Golden", "error_of", "load", "outputs"]

Array = np.ndarray[Any, Any]

HERE = Path(__file__).parent / "golden"
FOLDERS = tuple(sorted(p.parent.name for p in HERE.glob("*/manifest.json")))


@dataclass(frozen=True)
class Golden:
    """A model file with its inputs, its exact outputs and those of its framework."""

    path: Path
    what: str
    tolerance: float
    arguments: dict[str, str]
    calls: tuple[int, ...] = ()
    no_witness: str = ""
    _arrays: dict[str, Array] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    def arrays(self, kind: str) -> list[Array]:
        """Inputs ('x'), float64 outputs ('y') or float32 outputs of the framework ('w')."""
        if not self._arrays:
            with np.load(f"{self.path}.npz") as file:
                self._arrays.update(file)
        return [self._arrays[f"{kind}{i}"] for i in range(99) if f"{kind}{i}" in self._arrays]


def _read(folder: str) -> list[Golden]:
    manifest = json.loads((HERE / folder / "manifest.json").read_text(encoding="utf-8"))
    return [
        Golden(
            HERE / folder / row["file"],
            row["what"],
            row["tolerance"],
            row["load"],
            tuple(row.get("calls", ())),
            row.get("no_witness", ""),
        )
        for row in manifest["files"]
    ]


FILES = {str(one): one for folder in FOLDERS for one in _read(folder)}


def load(one: Golden) -> rn.Model:
    """Open a golden file; an architecture stands in the manifest as a caller would write it."""
    arguments: dict[str, Any] = dict(one.arguments)
    if "architecture" in arguments:
        arguments["architecture"] = eval(arguments["architecture"], {"rn": rn})
    return rn.load(one.path, **arguments)


def outputs(one: Golden, model: rn.Model) -> list[Array]:
    """Outputs in the model's order; where the framework carries state, those of its calls."""
    inputs = dict(zip((i.name for i in model.inputs), one.arrays("x"), strict=True))
    if not one.calls:
        found = model.run(inputs)
        return list(found.values()) if isinstance(found, dict) else [found]
    (x,) = inputs.values()
    stream, cuts = model.stream(batch=x.shape[0]), np.cumsum(one.calls)[:-1]
    return [stream.step(part) for part in np.split(x, cuts, axis=1)]


def error_of(one: Golden, found: list[Array]) -> float:
    """Hold outputs against float64 and against the framework; return the largest error.

    Every output must be within the tolerance of float64, of max(1, largest magnitude), and within
    that and the framework's own error of what the framework computed.
    """
    exact, witness = one.arrays("y"), one.arrays("w")
    assert bool(witness) != bool(one.no_witness), one
    assert [y.shape for y in found] == [y.shape for y in exact], one
    worst = 0.0
    for i, (y, expected) in enumerate(zip(found, exact, strict=True)):
        bound = one.tolerance * max(1.0, float(np.abs(expected).max(initial=0)))
        error = float(np.abs(y - expected).max(initial=0))
        assert error <= bound, f"{one}: output {i} is off by {error}, allowed {bound}"
        worst = max(worst, error)
        if witness:
            own = float(np.abs(witness[i] - expected).max(initial=0))
            apart = float(np.abs(y - witness[i]).max(initial=0))
            assert apart <= bound + own, f"{one}: output {i}: {apart} from the framework's"
    return worst
