"""The oracle against the frameworks, on the cases of the specification matrix."""

from __future__ import annotations

import numpy as np
import pytest

from cases import AMPLIFIED, Case, case
from oracle.witnesses import OutOfRange, answer, tolerance, wanted

WITNESSES = ("onnxruntime", "torch", "keras")


@pytest.mark.matrix
@pytest.mark.parametrize("witness", WITNESSES)
def test_the_oracle_agrees_with_every_witness(witness: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip(witness, reason=f"{witness} is not installed")
    count = request.config.getoption("--matrix-cases", default=300)
    first = int(request.config.getoption("--seed", default=0)) * 1_000_000
    drawn_cases = map(case, range(first, first + count))
    asked = [drawn for drawn in drawn_cases if witness in drawn.witnesses]
    assert asked, f"none of {count} cases can be asked of {witness}"
    failures = [message for drawn in asked if (message := _difference(drawn, witness))]
    assert not failures, f"{len(failures)} of {len(asked)} differ:\n" + "\n".join(failures[:10])


def _difference(drawn: Case, witness: str) -> str:
    """Say where a witness is too far from the oracle; empty where it is not."""
    try:
        got, expected = answer(drawn, witness), wanted(drawn, witness)
    except OutOfRange:
        return ""
    bound = tolerance(witness, expected)
    for name, value in expected.items():
        if got[name].shape != value.shape:
            return f"{name}: {got[name].shape} instead of {value.shape}; {drawn}"
        error = float(np.abs(got[name] - value).max(initial=0))
        if not error <= bound and not error <= AMPLIFIED * drawn.sensitivity():
            return f"{name}: {error:.3g} > {bound:.3g}; {drawn}"
    return ""


def test_cases_are_deterministic() -> None:
    for seed in range(20):
        one, two = case(seed), case(seed)
        assert one.spec == two.spec and one.model == two.model
        for name, value in one.expected.items():
            np.testing.assert_array_equal(value, two.expected[name])


def test_cases_cover_the_space() -> None:
    drawn = [case(seed).spec for seed in range(600)]
    for field, values in {
        "op": {"LSTM", "GRU", "RNN"},
        "kind": {"onnx", "graph"},
        "layout": {0, 1},
        "opset": {7, 14, 22},
        "bias": {"both", "none", "w", "r"},
        "peephole": {True, False},
        "proj": {True, False},
        "dynamic_weights": {True, False},
    }.items():
        assert {getattr(spec, field) for spec in drawn} == values, field
    assert {s.attrs.direction for s in drawn} == {"forward", "reverse", "bidirectional"}
    assert {s.attrs.coupling for s in drawn} == {None, "f=1-i", "i=1-f"}
    assert any(s.lengths is not None and 0 in s.lengths for s in drawn)
    assert any(s.steps == 0 for s in drawn) and any(s.batch == 0 for s in drawn)
    assert any(not all(s.outputs) for s in drawn) and any(s.attrs.clip for s in drawn)
