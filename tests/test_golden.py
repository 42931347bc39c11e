"""Files of every framework and container: loaded, run, and held against float64."""

from __future__ import annotations

import numpy as np
import pytest

from golden_files import FILES, load, outputs


@pytest.mark.parametrize("name", FILES)
def test_file(name: str) -> None:
    """Within the tolerance of float64, and within that and the framework's own error of it."""
    one = FILES[name]
    if one.path.suffix in (".onnx",):
        pytest.importorskip("onnx", reason="onnx is not installed")
    if one.path.suffix in (".keras", ".h5", ".hdf5"):
        pytest.importorskip("pyfive", reason="pyfive is not installed")
    found = outputs(one, load(one))
    exact, witness = one.arrays("y"), one.arrays("w")
    assert bool(witness) != bool(one.no_witness)
    assert [y.shape for y in found] == [y.shape for y in exact]
    for i, (y, expected) in enumerate(zip(found, exact, strict=True)):
        bound = one.tolerance * max(1.0, float(np.abs(expected).max(initial=0)))
        error = float(np.abs(y - expected).max(initial=0))
        assert error <= bound, f"{one}: output {i} is off by {error}, allowed {bound}"
        if witness:
            own = float(np.abs(witness[i] - expected).max(initial=0))
            apart = float(np.abs(y - witness[i]).max(initial=0))
            assert apart <= bound + own, f"{one}: output {i}: {apart} from the framework's"
