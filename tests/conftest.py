"""Options, fixtures and the rules on what runs by default."""

from __future__ import annotations

import importlib.util
import os
import platform
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
WITNESSES = ("onnx", "onnxruntime", "torch", "keras")

os.environ.setdefault("KERAS_BACKEND", "torch")

hypothesis.settings.register_profile(
    "fixed", derandomize=True, deadline=None, print_blob=True, max_examples=50
)
hypothesis.settings.register_profile("full", deadline=None, print_blob=True, max_examples=2000)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of this test suite."""
    group = parser.getgroup("rnnengine")
    group.addoption(
        "--matrix-cases",
        type=int,
        default=300,
        metavar="N",
        help="cases of the specification matrix (the full run: -m matrix --matrix-cases 20000)",
    )
    group.addoption(
        "--full",
        action="store_true",
        help="run the long forms: exhaustive sweeps, more generated examples",
    )
    group.addoption(
        "--seed", type=int, default=0, help="seed of the tests that draw random numbers (default 0)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples Hypothesis draws."""
    hypothesis.settings.load_profile("full" if config.getoption("--full") else "fixed")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is tested, with which seeds, on which tables, against which witnesses."""
    from importlib.metadata import PackageNotFoundError, version

    def version_of(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"no {name}"

    spec = importlib.util.find_spec("rnnengine")
    places = list(spec.submodule_search_locations or []) if spec else ["not found"]
    return [
        f"rnnengine: {places[0]}; kernel tables: {', '.join(available_isas()) or 'not built'}"
        f" ({platform.machine()})",
        f"witnesses: {', '.join(version_of(name) for name in WITNESSES)}; zoo: {zoo_folder()}",
        f"seed: {config.getoption('--seed')}; matrix cases: {config.getoption('--matrix-cases')};"
        f" long forms: {'yes' if config.getoption('--full') else 'no'}",
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out exhaustive sweeps unless asked for, and skip tests of an absent zoo."""
    if not (config.getoption("--full") or "exhaustive" in (config.option.markexpr or "")):
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
    if not zoo_folder().is_dir():
        skip = pytest.mark.skip(reason=missing_zoo())
        for item in items:
            if item.get_closest_marker("zoo"):
                item.add_marker(skip)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for ``isa`` every kernel table this machine can run."""
    if "isa" in metafunc.fixturenames:
        from rnnengine._c import cpu

        metafunc.parametrize("isa", list(cpu.available()), indirect=True)


def available_isas() -> list[str]:
    """Kernel tables this machine can run; empty where the engine is not built."""
    try:
        from rnnengine._c import cpu
    except ImportError:
        return []
    return list(cpu.available())


def zoo_folder() -> Path:
    """Where the published models are expected."""
    return Path(os.environ.get("RNNENGINE_ZOO", ROOT.parent / "shared" / "models"))


def missing_zoo() -> str:
    """The reason given for skipping a test that needs the published models."""
    return f"published models not found at {zoo_folder()}; set RNNENGINE_ZOO to their folder"


@pytest.fixture
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name of a kernel table; models loaded inside the test use it."""
    from rnnengine._c import cpu

    with cpu.use(request.param):
        yield request.param


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Folder of the published models; the test is skipped where it is absent."""
    if not zoo_folder().is_dir():
        pytest.skip(missing_zoo())
    return zoo_folder()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that depend on ``--seed`` and on the test's name only."""
    seed: Any = request.config.getoption("--seed")
    return np.random.default_rng([seed, zlib.crc32(request.node.name.encode())])


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT
