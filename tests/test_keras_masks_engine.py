"""Masks and tables of Keras models on the engine's kernels, which agree with Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_models import MASKED, built, feed
from rnnengine.importers import load_graph
from rnnengine.model import Model
from rnnengine.ops import evaluate

pytest.importorskip("pyfive", reason="pyfive is not installed")
pytest.importorskip("keras", reason="keras is not installed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras"),
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]


def model_of(name: str, folder: Path) -> tuple[Any, Model]:
    net = built(MASKED[name])
    net.save(folder / "a.keras")
    return net, Model(load_graph(folder / "a.keras"))


@pytest.mark.parametrize("name", MASKED)
def test_engine_agrees_with_the_oracle(name: str, tmp_path: Path) -> None:
    net, model = model_of(name, tmp_path)
    for batch, steps in ((3, 7), (3, 1), (17, 4)):
        feeds = feed(net, batch=batch, steps=steps)
        want = evaluate(load_graph(tmp_path / "a.keras"), feeds)
        for key, value in model.run(feeds).items():
            np.testing.assert_allclose(value, want[key], rtol=1e-5, atol=5e-6, err_msg=key)


def test_number_outside_the_table(tmp_path: Path) -> None:
    net, model = model_of("embedding", tmp_path)
    feeds = feed(net)
    feeds["ids"][1, 1] = 6
    with pytest.raises(ValueError, match="outside the table it selects from: 6"):
        model.run(feeds)
