"""What importing and installing the package costs, told without a clock."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rnnengine as rn
from rnnengine.errors import RNNEngineError

PACKAGE = Path(next(iter(rn.__path__)))
LARGEST = 6.6e6
"""Bytes of an installed package, with bytecode estimated at 1.5 times the source: 6 MB before
weights of 16 and 8 bits had kernels."""

ALONE = {"rnnengine", "rnnengine._version", "rnnengine.errors"}
NOT_FOR_LOADING = {
    "argparse", "asyncio", "ctypes.util", "hashlib", "http", "importlib.metadata", "inspect",
    "ipaddress", "logging", "multiprocessing", "numpy.ma", "numpy.typing", "pathlib", "pickle",
    "rnnengine.cli", "rnnengine.exporting", "rnnengine.importers.architecture",
    "rnnengine.importers.keras", "rnnengine.importers.onnx", "rnnengine.importers.torch",
    "rnnengine.inspecting", "rnnengine.layers", "socket", "ssl", "subprocess", "tempfile",
    "threading", "unittest", "urllib", "urllib.parse", "zipfile",
}  # fmt: skip
"""Modules that loading and running a `.rnne` file has no use for."""


def loaded_by(code: str) -> set[str]:
    """Modules that some code imports beyond those of NumPy."""
    program = f"""
import json, sys
import numpy
before = set(sys.modules)
{code}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_imports_next_to_nothing() -> None:
    assert loaded_by("import rnnengine") - {"__future__"} == ALONE


def test_loading_a_model_imports_no_other_reader_and_nothing_heavy() -> None:
    path = Path(__file__).parent / "data/format1.rnne"
    code = f"""
import rnnengine
model = rnnengine.load({str(path)!r})
model.run(numpy.zeros((2, 3, 5), numpy.float32))
"""
    loaded = loaded_by(code)
    assert "rnnengine.importers.native" in loaded
    assert loaded & NOT_FOR_LOADING == set()


def test_every_public_name_is_there_and_known_to_type_checkers() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {name: f"rnnengine.{part}" for name, part in rn._PART_OF.items()}
    assert sorted(rn.__all__) == list(dict.fromkeys(sorted(rn.__all__)))
    errors = {k for k, v in vars(rn).items() if isinstance(v, type) and issubclass(
        v, RNNEngineError)}  # fmt: skip
    assert set(typed) | errors == set(rn.__all__)
    for name in rn.__all__:
        assert getattr(rn, name) is not None
        assert name in dir(rn)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        rn.lode  # noqa: B018


def test_the_installed_package_is_small() -> None:
    files = [p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix not in (".pyc", ".c")]
    code = sum(p.stat().st_size for p in files if p.suffix == ".py")
    total = sum(p.stat().st_size for p in files)
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("a build with sanitizers carries debug information")
    assert total + 1.5 * code < LARGEST


def test_an_installed_package_carries_no_sources_of_its_compiled_part() -> None:
    if (PACKAGE.parent / "setup.py").exists():
        pytest.skip("the package is used from its source folder")
    found = {p.suffix for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert found <= {".py", ".pyi", ".so", ".typed"}
