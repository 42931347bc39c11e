"""Command line: convert, export-onnx, inspect, env.

Exit codes: 0 done, 2 wrong use (also a file that is not there, or that is and must not be
replaced), 3 a file that is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnengine import layers
from rnnengine._version import VERSION
from rnnengine.errors import RNNEngineError, UnsupportedModelError
from rnnengine.exporting import export_onnx
from rnnengine.importers.native import pack
from rnnengine.inspecting import inspect
from rnnengine.loading import cpu_info, load
from rnnengine.saving import write_whole

__all__ = ["DONE", "REFUSED", "WRONG_USE", "main", "read_architecture"]

DONE, WRONG_USE, REFUSED = 0, 2, 3

_OPTIONAL = ("onnx", "pyfive", "onnxruntime", "torch", "keras", "tf_keras")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Without the program's name; default ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit code.
    """
    options = _parser().parse_args(argv)
    try:
        report, text = options.command(options)
    except (RNNEngineError, OSError, _UsageError) as error:
        code = REFUSED if isinstance(error, RNNEngineError) else WRONG_USE
        if options.json:
            print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}))
        else:
            print(f"rnnengine: {error}", file=sys.stderr)
        return code
    print(json.dumps(report) if options.json else text)
    return DONE


class _UsageError(Exception):
    """An argument that means nothing."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rnnengine", description="Inference for recurrent networks on the CPU."
    )
    parser.add_argument("--version", action="version", version=f"rnnengine {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")

    convert = commands.add_parser(
        "convert", parents=[common], help="write a model as one .rnne file"
    )
    convert.add_argument("source", help="model file, or file of weights")
    convert.add_argument("-o", "--output", required=True, help="the .rnne file to write")
    convert.add_argument(
        "--architecture",
        metavar="SPEC",
        help="network of a file of weights: a .json file that lists layers, or a .py file, which "
        "is run, that sets the name 'architecture'",
    )
    convert.add_argument("--layer", help="path of the one recurrent layer that is wanted")
    convert.add_argument("--prefix", default="", help="part of a file of weights")
    convert.add_argument("--key", help="object of a PyTorch file that holds the weights")
    convert.add_argument(
        "--constants",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fix an input of the model; VALUE is JSON, a number or nested lists",
    )
    convert.add_argument("--external-data", metavar="FOLDER", help="where ONNX tensors may stand")
    convert.add_argument(
        "--compute-type", choices=["float32"], default="float32", help="numbers to compute with"
    )
    convert.add_argument("--force", action="store_true", help="replace the output if it is there")
    convert.set_defaults(command=_convert)

    export = commands.add_parser(
        "export-onnx", parents=[common], help="write a model as standard ONNX"
    )
    export.add_argument("source", help="any file that opens without a description")
    export.add_argument("-o", "--output", required=True, help="the .onnx file to write")
    export.add_argument("--force", action="store_true", help="replace the output if it is there")
    export.set_defaults(command=_export)

    look = commands.add_parser("inspect", parents=[common], help="say what is in a file")
    look.add_argument("source")
    look.add_argument("--key", help="object of a PyTorch file that holds the weights")
    look.set_defaults(command=_inspect)

    env = commands.add_parser("env", parents=[common], help="say what this machine offers")
    env.set_defaults(command=_env)
    return parser


def _convert(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    target = Path(options.output)
    if target.exists() and not options.force:
        raise FileExistsError(f"{target} exists; --force replaces it")
    architecture = None
    if options.architecture is not None:
        architecture = read_architecture(options.architecture)
    model = load(
        options.source,
        architecture=architecture,
        layer=options.layer,
        prefix=options.prefix,
        key=options.key,
        constants=_constants(options.constants) or None,
        external_data=options.external_data,
    )
    source = Path(options.source)
    origin = {
        "file": source.name,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "framework": inspect(source, key=options.key).format
        if options.external_data is None
        else "onnx",
    }
    content = pack(model.portable_graph(), origin=origin, version=VERSION)
    again = load(content, verify=True)
    write_whole(target, content, overwrite=options.force)
    report = {
        "source": str(source),
        "output": str(target),
        "bytes": len(content),
        "origin": origin,
        "inputs": [repr(info) for info in again.inputs],
        "outputs": [repr(info) for info in again.outputs],
    }
    text = f"{target}: {len(content)} bytes from {source}\n{again!r}"
    return report, text


def _export(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    export_onnx(load(options.source), options.output, overwrite=options.force)
    report = {"source": options.source, "output": options.output}
    return report, f"{options.output}: ONNX from {options.source}"


def _constants(given: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        try:
            found[name] = np.array(json.loads(value))
        except ValueError:
            equals = ""
        if not equals or found[name].dtype.kind not in "fiub":
            raise _UsageError(f"--constants {item!r}: expected NAME=VALUE with a number or lists")
    return found


def read_architecture(path: str | os.PathLike[str]) -> layers.Architecture:
    """Read the description of a network.

    Parameters
    ----------
    path : path
        A ``.json`` file: ``[{"type": "LSTM", "input_size": 40, "hidden_size": 64}, ...]``, layers
        one after the other in the words of :mod:`rnnengine.layers`. Or a ``.py`` file, which is
        run as the program of its owner that it is, and sets the name ``architecture``.

    Raises
    ------
    UnsupportedModelError
        Naming the layer that is not known or cannot be made.
    """
    if Path(path).suffix == ".py":
        found = runpy.run_path(os.fspath(path)).get("architecture")
        if found is None:
            raise UnsupportedModelError(f"{path}: it does not set the name 'architecture'")
        made: layers.Architecture = found
        return made
    try:
        listed = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"{path}: no JSON: {error}") from None
    if not isinstance(listed, list):
        raise UnsupportedModelError(f"{path}: expected a list of layers")
    return layers.Sequential(*(_layer(item, f"{path}: layer {i}") for i, item in enumerate(listed)))


def _layer(item: Any, where: str) -> layers.Layer:
    kinds = {name: kind for name, kind in vars(layers).items() if _is_layer(kind)}
    if not isinstance(item, Mapping) or item.get("type") not in kinds:
        raise UnsupportedModelError(
            f"{where} is {str(item)[:80]}; expected an object whose 'type' is one of "
            f"{', '.join(sorted(kinds))}"
        )
    words = {key: value for key, value in item.items() if key != "type"}
    try:
        layer: layers.Layer = kinds[item["type"]](**words)
    except TypeError as error:
        raise UnsupportedModelError(f"{where}: {error}") from None
    return layer


def _is_layer(kind: Any) -> bool:
    """Whether JSON may name it: a layer of one input that stands for itself."""
    if kind is layers.Dense:
        return True
    abstract = (layers.Layer, layers.Recurrent, layers.Elementwise, layers.Sequential)
    return (
        isinstance(kind, type)
        and issubclass(kind, layers.Layer)
        and kind not in abstract
        and kind.inputs[0] == 1
    )


def _inspect(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    found = inspect(options.source, key=options.key)
    return found.as_dict(), str(found)


def _env(_: argparse.Namespace) -> tuple[dict[str, Any], str]:
    report = {
        "rnnengine": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_info(),
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith("RNNENGINE_")},
        "packages": [n for n in _OPTIONAL if importlib.util.find_spec(n) is not None],
    }
    return report, "\n".join(f"{key:<10} {_shown(value)}" for key, value in report.items())


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_shown(v)}" for k, v in value.items()) or "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)
