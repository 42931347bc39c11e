"""What a process imports before its first result: counted, because times depend on the machine."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import numpy as np
import pytest

import rnnengine as rn
from rnnengine import records
from rnnengine.ops import get, names
from rnnengine.ops.families import FAMILIES, FAMILY_OF
from rnnengine.ops.registry import emission
from rnnengine.records import field, record

_HOME = Path(next(iter(rn.__path__))).parent
_SCRIPT = """
import sys
import numpy as np
before = set(sys.modules)
import rnnengine
imported = set(sys.modules) - before
model = rnnengine.load(sys.argv[1])
model.run(np.zeros((1, 3, 8), np.float32))
import json
print(json.dumps([sorted(imported), sorted(set(sys.modules) - before)]))
"""


def _modules(path: Path) -> tuple[set[str], set[str]]:
    """Modules that the import takes, and all up to the first result, beside those of NumPy."""
    environment = os.environ | {"PYTHONPATH": str(_HOME)}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, path],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported, loaded = json.loads(done.stdout)
    return set(imported), set(loaded)


def _save(path: Path, *layers: rn.LSTM | rn.Linear | rn.Sigmoid) -> Path:
    rng = np.random.default_rng(0)
    shapes = {"0.weight_ih_l0": (64, 8), "0.weight_hh_l0": (64, 16), "0.bias_ih_l0": (64,),
              "0.bias_hh_l0": (64,), "1.weight": (4, 16), "1.bias": (4,)}  # fmt: skip
    kept = {k: v for k, v in shapes.items() if int(k[0]) < len(layers)}
    np.savez(path, **{k: rng.normal(size=v).astype(np.float32) for k, v in kept.items()})
    rn.save(rn.load(path, architecture=rn.Sequential(*layers)), path.with_suffix(".rnne"))
    return path.with_suffix(".rnne")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    return _modules(_save(tmp_path_factory.mktemp("first") / "m.npz", rn.LSTM(8, 16)))


def test_the_import_takes_next_to_nothing(loaded: tuple[set[str], set[str]]) -> None:
    assert {"__future__", "rnnengine", "rnnengine._version", "rnnengine.errors"} >= loaded[0]


def test_a_first_load_imports_nothing_that_the_model_has_no_use_for(
    loaded: tuple[set[str], set[str]],
) -> None:
    unused = {
        "layers", "validation", "exporting", "saving", "inspecting", "snapshots", "quantize",
        "importers.onnx", "importers.keras", "importers.torch", "importers.architecture",
        "importers.checkpoint", "ops.oracle", "ops.conv", "ops.elementwise", "ops.windows",
        "ops.pool", "ops.reduce", "ops.normalize", "ops.emission.conv",
        "ops.emission.elementwise", "ops.emission.logic",
        "passes.fuse_cells", "passes.find_cells", "passes.loops", "passes.fuse_layer_norm",
        "passes.free_axis", "passes.in_chunks", "passes.lengths", "passes.fuse_pad",
        "passes.fuse_conv", "passes.fuse_linear", "passes.convolution_state",
    }  # fmt: skip
    assert {f"rnnengine.{name}" for name in unused} & loaded[1] == set()


def test_a_first_load_imports_few_modules(loaded: tuple[set[str], set[str]]) -> None:
    own = {name for name in loaded[1] if name.split(".")[0] == "rnnengine"}
    assert len(own) <= 74
    others = {name.split(".")[0] for name in loaded[1] - own}
    assert others <= {"__future__", "json", "_json", "cython_runtime"} | {
        name for name in others if name.startswith("_cython_")
    }


def test_a_head_takes_only_its_own_modules_more(
    loaded: tuple[set[str], set[str]], tmp_path: Path
) -> None:
    path = _save(tmp_path / "m.npz", rn.LSTM(8, 16), rn.Linear(16, 4), rn.Sigmoid())
    more = {name.removeprefix("rnnengine.") for name in _modules(path)[1] - loaded[1]}
    assert "ops.linear" in more
    wanted = {"ops.linear", "ops.fused", "ops.elementwise", "passes.fuse_linear",
              "ops.emission.linear"}  # fmt: skip
    assert more <= wanted


def test_the_table_of_families_is_what_the_modules_hold() -> None:
    assert names() == sorted(FAMILY_OF)
    assert len(names()) == sum(len(has.split()) for _, has in FAMILIES.values())
    for name, family in FAMILY_OF.items():
        op = get(name)
        module = importlib.import_module(f"rnnengine.ops.{family}")
        functions = (op.infer, op.reference, op.stream)
        found = {getattr(f, "func", f).__module__ for f in functions}
        assert any(module.__name__ == f or f.startswith(module.__name__ + ".") for f in found)
        emitted = emission(name)
        if emitted is not None:
            expected = f"rnnengine.ops.emission.{FAMILIES[family][0]}"
            assert getattr(emitted.emit, "func", emitted.emit).__module__ == expected


@record
class _Pair:
    left: int
    right: tuple[int, ...] = ()
    notes: dict[str, int] = field(default_factory=dict)


@record
class _Checked:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("negative")


def test_records_are_made_as_dataclasses_are() -> None:
    pair = _Pair(1, right=(2,))
    assert (pair.left, pair.right, pair.notes) == (1, (2,), {})
    assert pair.notes is not _Pair(1).notes
    assert [f.name for f in fields(pair)] == ["left", "right", "notes"]
    assert replace(pair, left=3) == records.replace(pair, left=3) == _Pair(3, (2,))
    assert _Pair(1).notes == {}, "dataclasses.fields leaves the class as it was"
    assert repr(pair) == "_Pair(left=1, right=(2,), notes={})"
    match pair:
        case _Pair(left, right):
            assert (left, right) == (1, (2,))


def test_records_compare_and_hash_by_value() -> None:
    assert _Checked(1) == _Checked(1) != _Checked(2)
    assert _Pair(1) != _Checked(1)
    assert len({_Checked(1), _Checked(1), _Checked(2)}) == 2


def test_records_are_frozen_and_checked() -> None:
    with pytest.raises(FrozenInstanceError):
        _Pair(1).left = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del _Pair(1).left
    with pytest.raises(ValueError, match="negative"):
        replace(_Checked(1), value=-1)


@pytest.mark.parametrize(
    ("args", "named", "text"),
    [
        ((), {}, "needs its field 'left'"),
        ((1, (), {}, 4), {}, "takes 3 fields, got 4"),
        ((1,), {"left": 2}, "'left' twice"),
        ((1,), {"middle": 2}, "no field 'middle'"),
    ],
)
def test_records_refuse_fields_that_do_not_fit(
    args: tuple[object, ...], named: dict[str, object], text: str
) -> None:
    with pytest.raises(TypeError, match=text):
        _Pair(*args, **named)  # type: ignore[arg-type]
