"""What compute types cost: trained layers beside other engines, and what models are for."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnengine.bench import real, tasks
from rnnengine.bench.accuracy import BARS, KINDS, study
from rnnengine.bench.peers import ENGINES, LOW_PEERS, own_name

ROOT = Path(__file__).resolve().parent.parent

PEERS = [name for name in LOW_PEERS if find_spec(name.partition(",")[0])]


@cache
def rows(zoo: Path | None) -> list[dict[str, Any]]:
    """Errors of all engines in the layers of the examples, or in the published ones."""
    pytest.importorskip("onnx")
    engines = ["rnnengine", *map(own_name, KINDS), *PEERS]
    layers = real.layers(zoo, None if zoo else ROOT)
    return list(study(layers, engines, lambda name, layer: ENGINES[name](layer).output))


def test_errors_are_those_of_the_rounding() -> None:
    """Layers of the examples: what a type is finer in shows, and float32 is float32."""
    found = rows(None)
    assert len(found) >= 10
    for row in found:
        rms = row["rms"]
        assert rms["rnnengine"] < 2e-6
        assert rms["rnnengine, float16"] < rms["rnnengine, bfloat16"] < rms["rnnengine, int8"]
        assert rms["rnnengine, int8"] < 1e-2


@pytest.mark.zoo
@pytest.mark.slow
def test_trained_layers_are_nearer_to_float64_than_elsewhere(zoo: Path) -> None:
    """Every bar whose peers are installed."""
    found = [*rows(zoo), *rows(None)]
    judged = [bar for bar in BARS if set(bar.peers) <= set(PEERS)]
    if not judged:
        pytest.skip(f"none of {', '.join(LOW_PEERS)} is installed")
    for bar in judged:
        ratios = [ratio for ratio, _ in bar.ratios(found)]
        assert len(ratios) >= 10, str(bar)
        assert float(np.exp(np.mean(np.log(ratios)))) <= bar.mean, str(bar)
        assert max(ratios) <= bar.worst, str(bar)


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("kind", "task"),
    [(kind, task) for kind in ("bfloat16", "int8") for task in tasks.TASKS],
    ids=lambda value: getattr(value, "name", value),
)
def test_models_do_their_work_in_fewer_bytes(zoo: Path, kind: str, task: tasks.Task) -> None:
    if task not in tasks.there(zoo):
        pytest.skip(f"{task.package} is not installed, or one of {', '.join(task.files)} is absent")
    assert task.measure(zoo, kind) >= task.least
