"""Damaged and contradictory ONNX models: each becomes a model or a typed error, quickly.

    python tests/fuzz_onnx.py --seconds 600 [--seed 1] [--keep FOLDER] [--one SEED]

A worker process takes models that load, changes fields of their messages (or bytes of the file),
loads the result and runs what still loads. It may use so much memory and no more, opens no file,
imports nothing, starts nothing. The first input that breaks a rule is reported with its seed, and
kept in the folder when one is named; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_SECONDS = 1.0
LIMIT_BYTES = 3 << 30
FORBIDDEN = (
    "open",
    "import",
    "exec",
    "compile",
    "os.",
    "socket.",
    "subprocess.",
    "shutil.",
    "ctypes.",
)
NUMBERS = (
    -1, 0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 16, 17, 64, 100, 1000, 2**20, 2**31 - 1, 2**31, 2**32,
    2**40, 2**62, 2**63 - 1, -2, -3, -(2**31), -(2**62), -(2**63),
)  # fmt: skip
REALS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    1e-45,
    1e30,
    -1e30,
    float("inf"),
    float("-inf"),
    float("nan"),
)
TEXTS = (
    "",
    "x",
    "y",
    "W",
    "axes",
    "\0",
    "..",
    "/etc/passwd",
    "é",
    "a" * 1000,
    "LSTM",
    "GRU",
    "RNN",
)


class BrokenRule(Exception):
    """An input made the loader do what it must not."""


# ---- models to start from ------------------------------------------------------------------------


def corpus() -> list[bytes]:
    """Layers, random graphs, shape arithmetic, branches, and small published models."""
    from onnx_models import layer
    from random_graphs import random_graph

    models = [
        layer("LSTM", 5, 3, direction="bidirectional", lengths=True),
        layer("LSTM", 4, 3, initial=True, input_forget=1, clip=1.0),
        layer("GRU", 4, 3, linear_before_reset=1, layout=1, opset=14),
        layer("GRU", 17, 2, initial=True, direction="reverse"),
        layer("RNN", 3, 2, activations=["Affine"], activation_alpha=[0.5], activation_beta=[0.1]),
        layer("LSTM", 3, 2, time=4, batch=2, opset=7),
        *(random_graph(seed).content for seed in range(60)),
        *_with_branches(),
    ]
    zoo = os.environ.get("RNNENGINE_ZOO")
    if zoo:
        found = sorted(Path(zoo).rglob("*.onnx"))
        models += [p.read_bytes() for p in found if p.stat().st_size < 100_000]
    return models


def _with_branches() -> Iterator[bytes]:
    from onnx import TensorProto, helper

    from onnx_models import nodes

    def branch(op: str) -> Any:
        result = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], ["r"])], op, [], [result])

    shape = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["t"], axis=0),
        helper.make_node("Div", ["t", "two"], ["half"]),
        helper.make_node("Unsqueeze", ["half", "axes"], ["h"]),
        helper.make_node("Concat", ["h", "minus"], ["wanted"], axis=0),
    ]
    constants = {
        "zero": np.array(0),
        "two": np.array(2),
        "axes": np.array([0]),
        "minus": np.array([2, -1]),
    }
    inputs = {"x": ("T", 6)}
    yield nodes(
        [*shape, helper.make_node("Reshape", ["x", "wanted"], ["y"])], inputs, ["y"], constants
    )
    choice = helper.make_node(
        "If", ["long"], ["y"], then_branch=branch("Neg"), else_branch=branch("Abs")
    )
    test = helper.make_node("Greater", ["t", "two"], ["long"])
    yield nodes([*shape[:2], test, choice], inputs, ["y"], constants)
    fill = [
        helper.make_node("ConstantOfShape", ["s"], ["f"]),
        helper.make_node("Range", ["zero", "t", "step"], ["r"]),
        helper.make_node("Cast", ["r"], ["c"], to=1),
        helper.make_node("Unsqueeze", ["c", "last"], ["u"]),
        helper.make_node("Where", ["yes", "f", "x"], ["w"]),
        helper.make_node("Add", ["w", "u"], ["y"]),
    ]
    more = {"step": np.array(1), "last": np.array([1]), "yes": np.array([True])}
    yield nodes([*shape[:2], *fill], inputs, ["y"], {**constants, **more})


# ---- mutation ------------------------------------------------------------------------------------


def mutated(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Change the bytes of a file, or one to six fields of its messages."""
    if rng.random() < 0.15:
        return _damaged(content, others, rng)
    from onnx import ModelProto

    model = ModelProto.FromString(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 6]))):
        places = list(_places(model, 0))
        message, field = places[int(rng.integers(len(places)))]
        _change(message, field, places, rng)
    return bytes(model.SerializePartialToString())


def _damaged(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(data) + 1))
        kind = int(rng.integers(5))
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 20)), np.uint8))
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 50))]
        else:
            other = others[int(rng.integers(len(others)))]
            start = int(rng.integers(len(other)))
            data[at:at] = other[start : start + int(rng.integers(1, 200))]
    return bytes(data)


def _places(message: Any, depth: int) -> Iterator[tuple[Any, Any]]:
    """Every field of every message, those that are not set as well; nested graphs to a depth."""
    for field in message.DESCRIPTOR.fields:
        yield message, field
        if field.type == field.TYPE_MESSAGE and depth < 12:
            value = getattr(message, field.name)
            if field.is_repeated:
                for item in list(value)[:40]:
                    yield from _places(item, depth + 1)
            elif message.HasField(field.name):
                yield from _places(value, depth + 1)


def _change(
    message: Any, field: Any, places: list[tuple[Any, Any]], rng: np.random.Generator
) -> None:
    try:
        if field.is_repeated:
            _change_list(message, field, places, rng)
        elif field.type == field.TYPE_MESSAGE:
            if rng.random() < 0.3:
                message.ClearField(field.name)
            else:
                _copy_from(getattr(message, field.name), places, rng)
        else:
            setattr(message, field.name, _scalar(getattr(message, field.name), field, places, rng))
    except (ValueError, TypeError, OverflowError):
        pass  # the message type does not take such a value


def _change_list(
    message: Any, field: Any, places: list[tuple[Any, Any]], rng: np.random.Generator
) -> None:
    values = getattr(message, field.name)
    is_message = field.type == field.TYPE_MESSAGE
    kind = int(rng.integers(5))
    at = int(rng.integers(len(values))) if len(values) else 0
    if kind == 0 and len(values):
        del values[at]
    elif kind == 1 and len(values):
        values.append(values[at])
    elif kind == 2 and len(values) > 1:
        other = int(rng.integers(len(values)))
        kept = [
            type(v).FromString(v.SerializePartialToString()) if is_message else v for v in values
        ]
        kept[at], kept[other] = kept[other], kept[at]
        del values[:]
        values.extend(kept)
    elif is_message:
        _copy_from(values.add(), places, rng)
    elif kind == 3 and len(values):
        values[at] = _scalar(values[at], field, places, rng)
    else:
        values.append(
            _scalar(values[at] if len(values) else field.default_value, field, places, rng)
        )


def _copy_from(message: Any, places: list[tuple[Any, Any]], rng: np.random.Generator) -> None:
    """Replace by another message of the same type in the model."""
    same = {id(m): m for m, _ in places if m.DESCRIPTOR.full_name == message.DESCRIPTOR.full_name}
    if same:
        chosen = list(same.values())[int(rng.integers(len(same)))]
        message.ParseFromString(chosen.SerializePartialToString())


def _scalar(value: Any, field: Any, places: list[tuple[Any, Any]], rng: np.random.Generator) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = value + int(rng.integers(-2, 3))
        return near if rng.random() < 0.4 else int(NUMBERS[int(rng.integers(len(NUMBERS)))])
    if isinstance(value, float):
        return float(REALS[int(rng.integers(len(REALS)))])
    if isinstance(value, str):
        used = [t for m, f in places for t in _texts(m, f)]
        pool = [*TEXTS, *used] if rng.random() < 0.3 or not used else used
        return pool[int(rng.integers(len(pool)))]
    data = bytearray(value)
    kind = int(rng.integers(4))
    if kind == 0:
        return bytes(data[: int(rng.integers(len(data) + 1))])
    if kind == 1:
        return bytes(data) + bytes(int(rng.integers(1, 9)))
    if kind == 2 and len(data) >= 8:
        at = 8 * int(rng.integers(len(data) // 8))
        data[at : at + 8] = int(NUMBERS[int(rng.integers(len(NUMBERS)))]).to_bytes(
            8, "little", signed=True
        )
        return bytes(data)
    return TEXTS[int(rng.integers(len(TEXTS)))].encode()


def _texts(message: Any, field: Any) -> list[str]:
    if field.type != field.TYPE_STRING:
        return []
    value = getattr(message, field.name)
    return list(value) if field.is_repeated else [value] if value else []


# ---- what is asked of the loader -----------------------------------------------------------------


def check(content: bytes) -> str:
    """Load, and run what loads at small sizes; returns what came of it.

    Raises
    ------
    BrokenRule
        Another exception than the loader's own, or too much time.
    """
    import rnnengine as rn

    start = time.perf_counter()
    try:
        model = rn.load(content)
    except rn.RNNEngineError as error:
        _in_time(start, f"refusing ({error})")
        return f"load: {type(error).__name__}"
    except Exception as error:
        raise BrokenRule(f"load raised {type(error).__name__}: {error}") from error
    _in_time(start, "loading")
    try:
        feeds = {i.name: _feed(i) for i in model.inputs}
    except OverflowError:
        return "loaded, too large to run"
    start = time.perf_counter()
    try:
        repr(model)
        model.run(feeds)
        _in_time(start, "running")
        model.stream()
    except rn.UnsupportedModelError:
        return "ran, no streams"
    except (rn.RNNEngineError, ValueError, MemoryError) as error:
        _in_time(start, f"refusing to run ({error})")
        return f"run: {type(error).__name__}"
    except Exception as error:
        raise BrokenRule(f"run raised {type(error).__name__}: {error}") from error
    return "ran, streams"


def _feed(info: Any) -> Any:
    shape = [size if isinstance(size, int) else 2 for size in info.shape]
    if float(np.prod([float(s) for s in shape])) > 1e4:
        raise OverflowError
    return np.ones(shape, info.dtype)


def _in_time(start: float, what: str) -> None:
    seconds = time.perf_counter() - start
    if seconds > LIMIT_SECONDS:
        raise BrokenRule(f"{what} took {seconds:.2f} s")


def _watch(forbidden: list[str]) -> None:
    """Note every attempt to open, import, compile or start something from now on."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if forbidden and forbidden[0] == "on" and event.startswith(FORBIDDEN):
            forbidden.append(f"{event} {arguments[:2]!r}")

    sys.addaudithook(hook)


def _expired(*_: Any) -> None:
    raise BrokenRule(f"still busy after {10 * LIMIT_SECONDS} s")


def seeds(first: int) -> Iterator[int]:
    """Seeds of the inputs of one run."""
    number = first * 1_000_000_000
    while True:
        yield number
        number += 1


def worker(arguments: argparse.Namespace) -> int:
    """Try inputs until the time is over; the number of the one under way stands in a file."""
    import onnx  # noqa: F401  (whatever loading needs is loaded before watching begins)

    models = corpus()
    for content in models:
        check(content)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    forbidden = ["off"]
    _watch(forbidden)
    signal.signal(signal.SIGALRM, _expired)
    slot = os.open(arguments.slot, os.O_RDWR)
    results: Counter[str] = Counter()
    end = time.monotonic() + arguments.seconds
    for seed in [arguments.one] if arguments.one is not None else seeds(arguments.seed):
        if time.monotonic() > end:
            break
        os.pwrite(slot, seed.to_bytes(8, "little"), 0)
        content = input_of(seed, models)
        signal.setitimer(signal.ITIMER_REAL, 10 * LIMIT_SECONDS)
        forbidden[0] = "on"
        try:
            results[check(content)] += 1
            if len(forbidden) > 1:
                raise BrokenRule(forbidden[1])
        except BrokenRule as error:
            print(f"seed {seed}: {error}", flush=True)
            return 1
        finally:
            forbidden[0] = "off"
            signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"{results.total()} inputs:", ", ".join(f"{n} {k}" for k, n in results.most_common()))
    return 0


def input_of(seed: int, models: list[bytes]) -> bytes:
    """Return the input that belongs to a seed."""
    rng = np.random.default_rng(seed)
    return mutated(models[int(rng.integers(len(models)))], models, rng)


def main() -> int:
    """Run the worker, and say which input ended it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the input that breaks a rule")
    parser.add_argument("--one", type=int, help="try the input of this seed alone")
    parser.add_argument("--slot", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    if arguments.slot:
        return worker(arguments)
    with tempfile.NamedTemporaryFile() as slot:
        slot.write(bytes(8))
        slot.flush()
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--slot", slot.name], check=False
        )
        seed = int.from_bytes(Path(slot.name).read_bytes(), "little")
    if done.returncode:
        print(f"seed {seed} ended the worker with code {done.returncode}")
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / f"{seed}.onnx").write_bytes(input_of(seed, corpus()))
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
