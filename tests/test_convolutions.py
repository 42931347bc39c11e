"""Random convolutions and pools: the oracle against its witnesses, the engine against the oracle.

The engine is held to what a chain of n fused multiply-adds can lose: (n + 2) half ulps of the sum
of all magnitudes in it. Bits are compared exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from conv_cases import WIDE, Case, case, wide_case
from engine import float_tables, run, same_bits
from rnnengine._c import cpu
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate

Array = np.ndarray[Any, Any]

CASES, BLOCK = 240, 40


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Blocks of seeds, so that processes share them; 20 times as many with --full."""
    if "seeds" in metafunc.fixturenames:
        total = CASES * (20 if metafunc.config.getoption("--full") else 1)
        first = int(metafunc.config.getoption("--seed")) * 1_000_000
        blocks = [range(i, i + BLOCK) for i in range(first, first + total, BLOCK)]
        metafunc.parametrize("seeds", blocks, ids=[f"{b.start}-{b.stop - 1}" for b in blocks])


def oracle(drawn: Case) -> tuple[Array, Array]:
    """Return the answer in float64, and the largest error that float32 may make at each place."""
    answer = evaluate(load_graph(drawn.model()), drawn.feeds)["y"]
    if drawn.op == "MaxPool":
        return answer, np.zeros_like(answer)
    sizes = {name: np.abs(value) for name, value in drawn.all_feeds.items()}
    with np.errstate(invalid="ignore"):
        total = evaluate(load_graph(drawn.model(constant=False)), sizes)["y"]
    return answer, (drawn.chain + 2) * 2.0**-24 * total


def check(got: Array, wanted: Array, allowed: Array) -> None:
    """Windows over padding alone give an infinity or NaN, which must be the same."""
    assert got.shape == wanted.shape
    with np.errstate(invalid="ignore"):
        close = np.abs(got - wanted) <= allowed
    assert np.all(close | (got == wanted) | (np.isnan(got) & np.isnan(wanted)))


def by_torch(drawn: Case) -> Array | None:
    """In float64, where torch has the operation: padding of its own, cut or added beforehand."""
    import torch

    functional = torch.nn.functional
    values = [torch.from_numpy(v.astype(np.float64)) for v in drawn.operands]
    x, rank = values[0], values[0].ndim - 2
    attrs = drawn.attrs
    pads = attrs["pads"]
    around = [n for i in reversed(range(rank)) for n in (pads[i], pads[i + rank])]
    stride, dilation = attrs["strides"], attrs["dilations"]
    bias = values[2] if len(values) > 2 else None
    if drawn.op == "Conv":
        function = (functional.conv1d, functional.conv2d)[rank - 1]
        padded = functional.pad(x, around)
        return np.asarray(function(padded, values[1], bias, stride, 0, dilation, attrs["group"]))
    if drawn.op == "ConvTranspose":
        turned = (functional.conv_transpose1d, functional.conv_transpose2d)[rank - 1]
        full = turned(x, values[1], None, stride, 0, 0, attrs["group"], dilation)
        extra = attrs.get("output_padding", [0] * rank)
        cut = [n for i in reversed(range(rank)) for n in (-pads[i], extra[i] - pads[i + rank])]
        result = functional.pad(full, cut)
        return np.asarray(result if bias is None else result + bias.reshape(-1, *[1] * rank))
    if drawn.op == "MaxPool" and not attrs.get("ceil_mode"):
        pool = (functional.max_pool1d, functional.max_pool2d)[rank - 1]
        padded = functional.pad(x, around, value=-np.inf)
        return np.asarray(pool(padded, attrs["kernel_shape"], stride, 0, dilation))
    return None


def test_the_oracle_agrees_with_its_witnesses(seeds: range) -> None:
    from oracle.deviations import ort_outputs

    for seed in seeds:
        drawn = case(seed)
        wanted, allowed = oracle(drawn)
        extra = drawn.attrs.get("output_padding", [0])
        try:
            if all(e < s for e, s in zip(extra, drawn.attrs["strides"], strict=False)):
                check(ort_outputs(drawn.model(), drawn.feeds)["y"], wanted, 2 * allowed)
            theirs = by_torch(drawn)
            if theirs is not None:
                np.testing.assert_allclose(wanted, theirs, rtol=1e-12, atol=1e-12)
        except AssertionError as error:
            raise AssertionError(f"{drawn}: {error}") from None


def test_the_engine_agrees_with_the_oracle(seeds: range) -> None:
    """On every table, with weights known at load and fed at run time, whole batches and rows."""
    for seed in seeds:
        drawn = case(seed)
        wanted, allowed = oracle(drawn)
        results = []
        for isa in float_tables():
            with cpu.use(isa):
                model = rn.load(drawn.model(free=(0,)))
            results.append(run(model, drawn.feeds))
            row = run(model, {"x": drawn.operands[0][-1:]})
            assert same_bits(row, {"y": results[-1]["y"][-1:]}), f"{drawn}: a row on {isa}"
        results.append(run(rn.load(drawn.model(constant=False)), drawn.all_feeds))
        try:
            check(results[0]["y"], wanted, allowed)
        except AssertionError as error:
            raise AssertionError(f"{drawn}: {error}") from None
        for other in results[1:]:
            assert same_bits(results[0], other), str(drawn)


def shared_units(drawn: Case, units: int) -> list[Case]:
    """The same convolution in pieces of so many units, which share nothing but the input."""
    x, w = drawn.operands[:2]
    return [
        Case(drawn.seed, "Conv", [x, *(v[i : i + units] for v in drawn.operands[1:])], drawn.attrs)
        for i in range(0, w.shape[0], units)
    ]


@pytest.mark.parametrize("number", range(len(WIDE)))
def test_products_of_windows_have_the_bits_of_convolutions(number: int) -> None:
    """Many units are a matrix product, few are not; also where nothing but signs of 0 is left."""
    drawn = wide_case(number)
    wanted, allowed = oracle(drawn)
    tiny = [v * np.float32(1e-30) for v in drawn.operands[:2]]
    for some in (drawn, Case(number, "Conv", tiny, drawn.attrs)):
        results = []
        for isa in float_tables():
            with cpu.use(isa):
                whole, *pieces = map(
                    rn.load, [c.model(free=(0,)) for c in (some, *shared_units(some, 16))]
                )
            results.append(run(whole, some.feeds))
            apart = np.concatenate([run(p, some.feeds)["y"] for p in pieces], axis=1)
            assert same_bits(results[-1], {"y": apart}), f"{some}: {isa}"
            row = run(whole, {"x": some.operands[0][-1:]})
            assert same_bits(row, {"y": results[-1]["y"][-1:]}), f"{some}: a row on {isa}"
        assert all(same_bits(results[0], other) for other in results), str(some)
        if some is drawn:
            check(results[0]["y"], wanted, allowed)


def test_padding_is_skipped_and_not_multiplied() -> None:
    """Weights that are infinite or not numbers show only where they meet data."""
    from onnx_models import nodes
    from test_emission import node

    weights = np.array([[[np.inf, 1e-30, np.nan]]], np.float32)
    content = nodes(
        [node("Conv", ["x", "w"], "y", pads=[1, 1])], {"x": (1, 1, "n")}, ["y"], {"w": weights}
    )
    for isa in float_tables():
        with cpu.use(isa):
            model = rn.load(content)
        one = np.asarray(model.run(np.full((1, 1, 1), -1e-30, np.float32)))
        assert one.item() == 0.0 and np.signbit(one).item()  # adding +0 would lose the sign
        many = np.asarray(model.run(np.ones((1, 1, 40), np.float32)))
        assert np.isnan(many[0, 0, :-1]).all() and many[0, 0, -1] == np.inf
