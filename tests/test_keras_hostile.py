"""Keras files that ask for what no model file may, or say what cannot be true, are refused."""

from __future__ import annotations

import io
import json
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnengine.errors import (
    ModelFormatError,
    RNNEngineError,
    UnsafeFileError,
    UnsupportedModelError,
)
from rnnengine.importers import load_graph
from rnnengine.importers.keras import import_weights
from rnnengine.importers.keras.hdf5 import read_hdf5

pytest.importorskip("pyfive", reason="pyfive is not installed")
h5py = pytest.importorskip("h5py", reason="h5py is not installed")

SHAPE = {"batch_input_shape": [None, None, 3]}


def dense(**config: Any) -> dict[str, Any]:
    return entry("Dense", **{"units": 2, "batch_input_shape": [None, 3], **config})


def entry(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": kind.lower(), **config}}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "net", "layers": list(layers)}}


def whole(file: Any, raw: Any = None, version: str = "2.5.0") -> Any:
    """A sound model with one Dense, to be spoilt."""
    file.attrs["keras_version"] = version
    file.attrs["model_config"] = (
        raw if isinstance(raw, str) else json.dumps(raw or sequential(dense()))
    )
    group = file.create_group("model_weights")
    group.attrs["layer_names"] = [b"dense"]
    one = group.create_group("dense")
    one.attrs["weight_names"] = [b"k", b"b"]
    one["k"], one["b"] = np.ones((3, 2), "f4"), np.ones(2, "f4")
    return one


def renamed(one: Any, name: str, *shapes: tuple[int, ...]) -> None:
    """Give the one layer of :func:`whole` another name and other weights."""
    one.parent.attrs["layer_names"] = [name.encode()]
    other = one.parent.create_group(name)
    other.attrs["weight_names"] = [b"w%d" % i for i in range(len(shapes))]
    for i, shape in enumerate(shapes):
        other[f"w{i}"] = np.ones(shape, "f4")


HOSTILE: dict[str, tuple[Callable[[Any], None], type[RNNEngineError], str]] = {}


def hostile(error: type[RNNEngineError], message: str) -> Callable[..., Callable[[Any], None]]:
    def decorate(function: Callable[[Any], None]) -> Callable[[Any], None]:
        HOSTILE[function.__name__] = (function, error, message)
        return function

    return decorate


@hostile(ModelFormatError, "links to other files")
def external_link(file: Any) -> None:
    one = whole(file)
    del one["k"]
    one["k"] = h5py.ExternalLink("other.h5", "/secret")


@hostile(UnsafeFileError, "is a link to another place")
def soft_link(file: Any) -> None:
    one = whole(file)
    file["elsewhere"] = np.ones((3, 2), "f4")
    del one["k"]
    one["k"] = h5py.SoftLink("/elsewhere")


@hostile(UnsafeFileError, "is a link to another place")
def soft_link_to_itself(file: Any) -> None:
    one = whole(file)
    del one["k"]
    one["k"] = h5py.SoftLink("/model_weights/dense/k")


@hostile(UnsafeFileError, "is a link to another place")
def dangling_link(file: Any) -> None:
    one = whole(file)
    del one["k"]
    one["k"] = h5py.SoftLink("/nowhere")


@hostile(UnsafeFileError, "has no data in this file")
def external_storage(file: Any) -> None:
    one = whole(file)
    del one["k"]
    one.create_dataset("k", (3, 2), "f4", external=[("other.bin", 0, 24)])


@hostile(UnsafeFileError, "is virtual")
def virtual_dataset(file: Any) -> None:
    one = whole(file)
    del one["k"]
    layout = h5py.VirtualLayout((3, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "k", (3, 2))
    one.create_virtual_dataset("k", layout)


@hostile(ModelFormatError, "more than a file of")
def shape_bomb(file: Any) -> None:
    one = whole(file)
    del one["k"]
    one.create_dataset("k", (1 << 24, 1 << 24), "f4")


@hostile(ModelFormatError, "more than a file of")
def chunked_shape_bomb(file: Any) -> None:
    one = whole(file)
    del one["k"]
    one.create_dataset("k", (1 << 24, 1 << 24), "f4", chunks=(64, 64), compression="gzip")


@hostile(ModelFormatError, "0 chunks in the file")
def chunks_that_are_not_there(file: Any) -> None:
    one = whole(file)
    del one["k"]
    one.create_dataset("k", (512, 512), "f4", chunks=(64, 64))


@hostile(ModelFormatError, "than (a file of|such a file can hold)")
def many_bombs_below_the_limit_each(file: Any) -> None:
    one = whole(file)
    for i in range(64):
        one.create_dataset(f"w{i}", data=np.zeros((1024, 512), "f4"), compression="gzip")


@hostile(ModelFormatError, "does not unpack to")
def chunk_that_unpacks_to_more(file: Any) -> None:
    one = whole(file)
    bomb = one.create_dataset("z", (8, 8), "f4", chunks=(8, 8), compression="gzip")
    bomb.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 26)))


@hostile(ModelFormatError, "nested more than|RecursionError")
def group_in_itself(file: Any) -> None:
    one = whole(file)
    one["again"] = file["/model_weights"]


@hostile(UnsupportedModelError, "holds object")
def texts_for_weights(file: Any) -> None:
    one = whole(file)
    del one["k"]
    one.create_dataset("k", data=np.array([b"x", b"y"], object), dtype=h5py.string_dtype())


@hostile(UnsupportedModelError, "compressed with 'lzf'")
def other_compression(file: Any) -> None:
    one = whole(file)
    one.create_dataset("z", data=np.zeros((8, 8), "f4"), compression="lzf")


@hostile(UnsupportedModelError, "class 'Lambda', which is not supported: it holds code")
def code_in_a_lambda(file: Any) -> None:
    whole(file, sequential(dense(), entry("Lambda", function=["4wEAAAA=", None, None])))


@hostile(UnsupportedModelError, "layer 'mine' is of class 'Mine'")
def class_of_the_users(file: Any) -> None:
    whole(file, sequential(dense(), entry("Mine")))


@hostile(UnsupportedModelError, "class 'os.system', which is not supported: it is not")
def module_path(file: Any) -> None:
    raw = {**entry("system"), "module": "os", "registered_name": None}
    whole(file, sequential(dense(), raw))


@hostile(UnsupportedModelError, "class 'evil>Dense', which is not supported")
def registered_name(file: Any) -> None:
    raw = {**entry("Dense", units=2, name="b"), "registered_name": "evil>Dense"}
    whole(file, sequential(dense(), raw))


@hostile(UnsupportedModelError, r"activation is the function builtins\.eval")
def function_as_activation(file: Any) -> None:
    value = {"module": "builtins", "class_name": "function", "config": "eval"}
    whole(file, sequential(dense(activation=value)))


@hostile(ModelFormatError, "not JSON")
def config_that_is_no_json(file: Any) -> None:
    whole(file, "{")


@hostile(ModelFormatError, "not JSON|nested too deep")
def config_too_deep(file: Any) -> None:
    whole(file, "[" * 30_000)


@hostile(ModelFormatError, "more than 20 networks are nested")
def networks_in_networks(file: Any) -> None:
    raw = entry("Activation", activation="tanh")
    for i in range(60):
        raw = {"class_name": "Sequential", "config": {"name": f"n{i}", "layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 3]}},
            raw]}}  # fmt: skip
    whole(file, raw)


@hostile(ModelFormatError, "refers to .* which is no layer's output")
def connection_to_nothing(file: Any) -> None:
    one = {**dense(), "name": "dense", "inbound_nodes": [[["ghost", 0, 0, {}]]]}
    ends = {"input_layers": [["dense", 0, 0]], "output_layers": [["dense", 0, 0]]}
    whole(file, {"class_name": "Model", "config": {"name": "m", "layers": [one], **ends}})


@hostile(ModelFormatError, "nothing computes output")
def layer_that_feeds_itself(file: Any) -> None:
    x = {**entry("InputLayer", batch_input_shape=[None, 3]), "inbound_nodes": []}
    one = {**dense(), "name": "dense", "inbound_nodes": [[["dense", 0, 0, {}]]]}
    ends = {"input_layers": [["inputlayer", 0, 0]], "output_layers": [["dense", 0, 0]]}
    whole(file, {"class_name": "Model", "config": {"name": "m", "layers": [x, one], **ends}})


@hostile(ModelFormatError, "kernel is float32.*expected floats of shape")
def weights_of_another_shape(file: Any) -> None:
    one = whole(file)
    del one["k"]
    one["k"] = np.ones((5, 2), "f4")


@hostile(ModelFormatError, "the file has 1 weights for it; its configuration asks for 2")
def weight_missing(file: Any) -> None:
    one = whole(file)
    one.attrs["weight_names"] = [b"k"]


@hostile(ModelFormatError, "units is 1.5")
def size_that_is_no_integer(file: Any) -> None:
    whole(file, sequential(dense(units=1.5)))


@hostile(ModelFormatError, "keras_version is 'evil'")
def version_that_is_none(file: Any) -> None:
    whole(file, version="evil")


@hostile(UnsupportedModelError, "time_major is True; accepted: False")
def time_major(file: Any) -> None:
    one = whole(file, sequential(entry("SimpleRNN", units=2, time_major=True, **SHAPE)))
    renamed(one, "simplernn", (3, 2), (2, 2), (2,))


@hostile(UnsupportedModelError, "merge_mode is 'max'")
def merge_mode(file: Any) -> None:
    inner = entry("SimpleRNN", units=2, use_bias=False)
    one = whole(file, sequential(entry("Bidirectional", layer=inner, merge_mode="max", **SHAPE)))
    renamed(one, "bidirectional", *[(3, 2), (2, 2)] * 2)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hdf5(name: str, libver: str, tmp_path: Path) -> None:
    spoil, error, message = HOSTILE[name]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver) as file:
        spoil(file)
    opened: list[str] = []

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event in ("exec", "subprocess.Popen", "os.system", "pickle.find_class") or (
            event == "open" and "other" in str(args[0])
        ):
            opened.append(event)

    content = path.read_bytes()
    sys.addaudithook(audit)
    damaged = "newer parts of HDF5|layout class 4" if libver == "latest" else message
    with pytest.raises(RNNEngineError, match=f"{message}|{damaged}") as caught:
        load_graph(content)
    assert libver == "latest" or type(caught.value) is error
    assert opened == []


def test_attribute_that_declares_more_than_it_has(tmp_path: Path) -> None:
    """The extent of 'layer_names' is raised in the bytes: 1 becomes 2**40."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("g")
        group.attrs.create("layer_names", np.array(["dense"], object), (1,), h5py.string_dtype())
    content = bytearray((tmp_path / "a.h5").read_bytes())
    start = content.index(b"layer_names")
    place = content.index((1).to_bytes(8, "little") * 2, start)
    content[place : place + 16] = (1 << 40).to_bytes(8, "little") * 2
    with pytest.raises(ModelFormatError, match="an attribute of '/g' declares 1099511627776 elem"):
        read_hdf5(bytes(content), "a.h5")


def test_attributes_in_a_heap(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        for i in range(20):
            file.attrs[f"a{i}"] = i
    with pytest.raises(UnsupportedModelError, match="the attributes of '/' are in a heap"):
        read_hdf5((tmp_path / "a.h5").read_bytes(), "a.h5")


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def hdf5(tmp_path: Path) -> bytes:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 2), "f4")
        file["layers/dense/vars/1"] = np.ones(2, "f4")
    return (tmp_path / "w.h5").read_bytes()


def members(tmp_path: Path, **changes: bytes | None) -> dict[str, bytes]:
    plain: dict[str, bytes | None] = {
        "metadata.json": b'{"keras_version": "3.1.0"}',
        "config.json": json.dumps(sequential(dense())).encode(),
        "model.weights.h5": hdf5(tmp_path),
        **changes,
    }
    return {k: v for k, v in plain.items() if v is not None}


def test_the_archive_that_the_others_spoil(tmp_path: Path) -> None:
    assert load_graph(archive(**members(tmp_path))).outputs == ("dense",)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"../evil": b"x"}, UnsafeFileError, "leads out of the archive"),
        ({"/etc/evil": b"x"}, UnsafeFileError, "leads out of the archive"),
        ({"zeros": bytes(1 << 27)}, ModelFormatError, "bytes of content"),
        ({"model.weights.h5": None}, UnsupportedModelError, "no member 'model.weights.h5'"),
        (
            {"model.weights.h5": None, "model.weights.npz": b"PK"},
            UnsupportedModelError,
            "member 'model.weights.npz' holds pickles, which Keras does not open",
        ),
        ({"model.weights.h5": b"no"}, ModelFormatError, "damaged HDF5 file"),
        ({"config.json": b"[]"}, ModelFormatError, "expected an object"),
        ({"metadata.json": b'{"keras_version": 3}'}, ModelFormatError, "keras_version is 3"),
        ({"config.json": b"\xff"}, ModelFormatError, "not JSON"),
    ],
)
def test_archives(
    changes: dict[str, bytes | None], error: type[RNNEngineError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        load_graph(archive(**members(tmp_path, **changes)))


def test_archives_cut_or_flipped_are_refused_or_read(tmp_path: Path) -> None:
    """Every byte of an archive, and of HDF5, may be wrong: a typed error, or a graph."""
    rng = np.random.default_rng(3)
    sources = [archive(**members(tmp_path)), hdf5(tmp_path)]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        whole(file)
    sources.append((tmp_path / "m.h5").read_bytes())
    raw = json.dumps(sequential(dense()))
    for number, content in enumerate(sources):
        for _ in range(150):
            data = bytearray(content)
            for _ in range(int(rng.integers(1, 9))):
                data[rng.integers(len(data))] = rng.integers(256)
            broken = bytes(data[: rng.integers(8, len(data))] if rng.random() < 0.1 else data)
            try:
                if number == 1:
                    import_weights(broken, raw, "w.h5")
                else:
                    load_graph(broken)
            except RNNEngineError:
                continue
            except ModuleNotFoundError as error:
                assert error.name == "onnx"


def test_weights_without_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="holds weights and no model configuration"):
        load_graph(hdf5(tmp_path))


def test_options_of_other_formats(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="a Keras file takes no constants"):
        load_graph(archive(**members(tmp_path)), constants={"x": 1})


def test_without_pyfive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyfive", None)
    with pytest.raises(UnsupportedModelError, match=r"install it with pip install 'rnnengine"):
        read_hdf5(hdf5(tmp_path), "w.h5")
