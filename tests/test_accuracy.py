"""What compute types cost: trained layers beside other engines, and what models are for."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnengine.bench import real, tasks
from rnnengine.bench.accuracy import BARS, Bar, study
from rnnengine.bench.peers import ENGINES, LOW_PEERS, own_name

ROOT = Path(__file__).resolve().parent.parent

LANDED = ("bfloat16", "float16")
PEERS = [name for name in LOW_PEERS if find_spec(name.partition(",")[0])]


@cache
def rows(zoo: Path | None) -> list[dict[str, Any]]:
    """Errors of all engines in all layers."""
    pytest.importorskip("onnx")
    engines = ["rnnengine", *map(own_name, LANDED), *PEERS]
    layers = real.layers(zoo, None if zoo else ROOT)
    return list(study(layers, engines, lambda name, layer: ENGINES[name](layer).output))


def test_errors_are_those_of_the_rounding() -> None:
    """Layers of the examples: what a type is finer in shows, and float32 is float32."""
    found = rows(None)
    assert len(found) >= 10
    for row in found:
        rms = row["rms"]
        assert rms["rnnengine"] < 2e-6
        assert rms["rnnengine, float16"] < rms["rnnengine, bfloat16"] < 5e-3


@pytest.mark.zoo
@pytest.mark.slow
@pytest.mark.parametrize("bar", [bar for bar in BARS if bar.kind in LANDED], ids=str)
def test_trained_layers_are_nearer_to_float64_than_elsewhere(zoo: Path, bar: Bar) -> None:
    if not set(bar.peers) <= set(PEERS):
        pytest.skip(f"{' or '.join(bar.peers)} is not installed")
    ratios = [ratio for ratio, _ in bar.ratios([*rows(zoo), *rows(None)])]
    assert len(ratios) >= 10
    assert float(np.exp(np.mean(np.log(ratios)))) <= bar.mean
    assert max(ratios) <= bar.worst


@pytest.mark.zoo
@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("kind", ["bfloat16"])
def test_models_do_their_work_in_fewer_bytes(zoo: Path, task: tasks.Task, kind: str) -> None:
    if task not in tasks.there(zoo):
        pytest.skip(f"{task.package} is not installed, or one of {', '.join(task.files)} is absent")
    assert task.measure(zoo, kind) >= task.least
