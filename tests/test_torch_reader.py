"""PyTorch files read without PyTorch: every container, value for value what torch.load gives."""

from __future__ import annotations

import argparse
import datetime
import io
import json
import pathlib
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.checkpoint import Checkpoint
from rnnengine.importers.torch import read_checkpoint, recognises

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch import nn  # noqa: E402

Array = np.ndarray[Any, Any]
# The witness warns about its own old formats, which are what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")


class Net(nn.Module):
    """Every recurrent layer, with settings that a state_dict does not carry."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 5, batch_first=True)
        self.rnn = nn.RNN(5, 4, nonlinearity="relu", batch_first=True)
        self.fc = nn.Linear(4, 2)
        self.register_buffer("mean", torch.arange(3.0))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.fc(self.rnn(self.gru(self.lstm(x - self.mean)[0])[0])[0])


class Wrapper(nn.Module):
    """What Lightning does to names."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Net()


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def as_read(value: Any) -> Array:
    """What the reader makes of a tensor."""
    value = value.detach().cpu()
    if value.is_quantized:
        return value.dequantize().numpy()
    if value.dtype in (torch.bfloat16, torch.float16):
        value = value.float()
    return value.contiguous().numpy()


def agrees(read: Checkpoint, expected: dict[str, Any]) -> None:
    assert sorted(read.tensors) == sorted(expected)
    for name, tensor in expected.items():
        wanted = as_read(tensor)
        assert read.tensors[name].dtype == wanted.dtype, name
        assert read.tensors[name].shape == wanted.shape, name
        assert read.tensors[name].tobytes() == wanted.tobytes(), name
        assert read.tensors[name].dtype.isnative
        assert read.tensors[name].flags.c_contiguous


def reread(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)


ZIP: dict[str, Any] = {}
LEGACY: dict[str, Any] = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize("options", [ZIP, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_dict(net: Net, options: dict[str, Any], protocol: int) -> None:
    content = saved(net.state_dict(), pickle_protocol=protocol, **options)
    assert recognises(content)
    read = read_checkpoint(content, "x.pt")
    agrees(read, reread(content))
    assert (read.framework, read.source) == ("torch", "x.pt")
    assert list(read.tensors) == list(net.state_dict())


DTYPES = (
    "float32", "float64", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "bool",
    "complex64", "complex128", "uint16", "uint32", "uint64",
)  # fmt: skip


@pytest.mark.parametrize("options", [ZIP, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type(dtype: str, options: dict[str, Any]) -> None:
    values = torch.arange(-3, 9).reshape(3, 4)
    tensor = (values * 0.37 if "float" in dtype else values).to(getattr(torch, dtype))
    if options and dtype in ("uint16", "uint32", "uint64"):
        pytest.skip("PyTorch cannot write this type into the old container")
    content = saved({"w": tensor, "none": torch.zeros(0, 3, dtype=tensor.dtype)}, **options)
    agrees(read_checkpoint(content, "x"), reread(content))


def test_every_half_is_widened_exactly() -> None:
    bits = torch.arange(65536, dtype=torch.int32).to(torch.int16)
    content = saved({"f": bits.view(torch.float16), "b": bits.clone().view(torch.bfloat16)})
    read = read_checkpoint(content, "x").tensors
    for name, tensor in reread(content).items():
        np.testing.assert_array_equal(read[name], tensor.float().numpy())


@pytest.mark.parametrize("options", [ZIP, LEGACY], ids=["zip", "legacy"])
def test_strided_shared_and_scalar_tensors(options: dict[str, Any]) -> None:
    whole = torch.arange(60.0).reshape(3, 4, 5)
    tensors = {
        "whole": whole,
        "transposed": whole.permute(2, 0, 1),
        "part": whole[1:, ::2, 1:4],
        "last": whole[2, 3, 4],
        "expanded": whole[0, 0].expand(6, 5),
        "parameter": nn.Parameter(whole[1]),
        "buffer": nn.Buffer(whole[2]),
        "empty": whole[:0],
    }
    content = saved(tensors, **options)
    agrees(read_checkpoint(content, "x"), tensors)


def test_cuda_storages(net: Net) -> None:
    """A device is a word in the file; no GPU is needed to say it."""
    content = saved(net.state_dict(), **LEGACY)
    cpu, cuda = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    agrees(read_checkpoint(content.replace(cpu, cuda), "x"), net.state_dict())
    module = content.replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n")
    agrees(read_checkpoint(module, "x"), net.state_dict())


def test_big_endian_archive() -> None:
    tensor = torch.arange(5.0)
    source, target = zipfile.ZipFile(io.BytesIO(saved({"w": tensor}))), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            if "/data/" in name:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            archive.writestr(name, data)
    agrees(read_checkpoint(target.getvalue(), "x"), {"w": tensor})


def test_compressed_archive_and_absent_checksums(net: Net) -> None:
    source, target = zipfile.ZipFile(io.BytesIO(saved(net.state_dict()))), io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    agrees(read_checkpoint(target.getvalue(), "x"), net.state_dict())
    torch.serialization.set_crc32_options(False)
    try:
        agrees(read_checkpoint(saved(net.state_dict()), "x"), net.state_dict())
    finally:
        torch.serialization.set_crc32_options(True)


def test_plain_pickles(net: Net) -> None:
    agrees(read_checkpoint(pickle.dumps(net.state_dict(), 2), "x.pkl"), net.state_dict())
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    arrays["fortran"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    for protocol in (2, 3, 4, 5):
        read = read_checkpoint(pickle.dumps(arrays, protocol), "x.pkl").tensors
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype == array.dtype


def old_tar(tensors: dict[str, Array]) -> bytes:
    """A file as PyTorch 0.1 wrote it; no PyTorch of today can."""
    head = b"\x80\x02"
    storages, views, objects = pickle.dumps(len(tensors), 2), pickle.dumps([], 2), b"}("
    described = pickle.dumps(len(tensors), 2)
    for index, (name, array) in enumerate(tensors.items()):
        key, tensor = 100 + index, 200 + index
        cpu = b"X\x03\x00\x00\x00cpu"
        storages += head + b"K" + bytes([key]) + cpu + b"ctorch\nFloatStorage\n\x87."
        storages += array.size.to_bytes(8, "little") + array.tobytes()
        described += head + b"K" + bytes([tensor]) + b"K" + bytes([key])
        described += b"ctorch\nFloatTensor\n\x87." + array.ndim.to_bytes(8, "little")
        steps = [step // 4 for step in array.strides]
        described += b"".join(n.to_bytes(8, "little") for n in (*array.shape, *steps, 0))
        objects += b"X" + len(name).to_bytes(4, "little") + name.encode()
        objects += b"X\x03\x00\x00\x00" + str(tensor).encode() + b"Q"
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        parts = {
            "sys_info": pickle.dumps({"little_endian": True}, 2),
            "pickle": head + objects + b"u.",
            "tensors": described,
            "storages": storages + views,
        }
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_tar_of_the_first_releases() -> None:
    arrays = {"lstm.weight_ih_l0": np.arange(24, dtype="f4").reshape(8, 3), "b": np.ones(2, "f4")}
    content = old_tar(arrays)
    assert recognises(content)
    read = read_checkpoint(content, "x.tar").tensors
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
    assert not recognises(b"\x00" * 600)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda sd: {"model": sd},
        lambda sd: {"state_dict": sd, "epoch": 3, "best": torch.tensor(0.5)},
        lambda sd: {"model_state_dict": sd, "mean": torch.zeros(3), "ema_decay": 0.9},
        lambda sd: {"checkpoint": {"deeper": {"net": sd}}},
        lambda sd: [3, sd],
        lambda sd: {"args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("a")), "m": sd},
        lambda sd: {"params": sd, "when": datetime.datetime(2020, 1, 2), "loss": np.float64(2.5)},
        lambda sd: {"model": sd, "rng": np.random.RandomState(0).get_state(), "py": {1, 2}},
    ],
)
def test_nested_state_dicts(net: Net, wrap: Callable[[Any], Any]) -> None:
    agrees(read_checkpoint(saved(wrap(net.state_dict())), "x"), net.state_dict())


def test_optimiser_state_is_left_aside(net: Net) -> None:
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2, 3)).sum().backward()
    optimiser.step()
    content = saved(
        {"net": net.state_dict(), "optimizer": optimiser.state_dict(), "opt": optimiser}
    )
    agrees(read_checkpoint(content, "x"), net.state_dict())


def test_several_candidates(net: Net) -> None:
    first = {"w": torch.ones(2)}
    second = {"w": torch.zeros(2)}
    content = saved({"model": first, "ema": {"model": second}})
    with pytest.raises(UnsupportedModelError, match=r"x: ambiguous.*'model', 'ema\.model'"):
        read_checkpoint(content, "x")
    agrees(read_checkpoint(content, "x", key="ema.model"), second)
    with pytest.raises(UnsupportedModelError, match=r"no weights under 'nothing'.*'ema.model'"):
        read_checkpoint(content, "x", key="nothing")
    side_by_side = saved({"encoder": first, "decoder": second})
    agrees(read_checkpoint(side_by_side, "x"), {"encoder.w": first["w"], "decoder.w": second["w"]})
    with pytest.raises(UnsupportedModelError, match=r"no weights in it; .*'epoch'"):
        read_checkpoint(saved({"epoch": 1}), "x")


@pytest.mark.parametrize("ahead", ["module.", "_orig_mod.", "model.", "module._orig_mod.model."])
def test_prefixes(net: Net, ahead: str) -> None:
    wrapped = {ahead + name: tensor for name, tensor in net.state_dict().items()}
    agrees(read_checkpoint(saved(wrapped), "x"), net.state_dict())


def test_compile_wrapper_inside() -> None:
    content = saved({"a._orig_mod.w": torch.ones(1), "model.b": torch.ones(2)})
    assert sorted(read_checkpoint(content, "x").tensors) == ["a.w", "model.b"]


def settings(read: Checkpoint) -> None:
    """The settings of Net's layers, from wherever they were read."""
    lstm, gru, rnn = (read.modules[name] for name in ("lstm", "gru", "rnn"))
    assert (lstm.kind, gru.kind, rnn.kind) == ("LSTM", "GRU", "RNN")
    assert lstm.attrs["num_layers"] == 2
    assert (lstm.attrs["bidirectional"], gru.attrs["bidirectional"]) == (True, False)
    assert lstm.attrs["batch_first"] is True
    assert rnn.attrs["nonlinearity"] == "relu"


@pytest.mark.parametrize("options", [ZIP, LEGACY], ids=["zip", "legacy"])
def test_whole_modules(net: Net, options: dict[str, Any]) -> None:
    read = read_checkpoint(saved(net, **options), "x")
    agrees(read, net.state_dict())
    settings(read)
    assert read.modules["lstm"].attrs["hidden_size"] == 4
    assert read.modules["lstm"].attrs["proj_size"] == 0
    assert read.modules[""].kind.endswith("test_torch_reader.Net"), "a class of the user's own"
    wrapped = read_checkpoint(saved({"epoch": 1, "model": Wrapper().eval()}, **options), "x")
    assert sorted(wrapped.tensors) == sorted(net.state_dict())
    settings(wrapped)


def test_projection_and_cells() -> None:
    read = read_checkpoint(saved(nn.LSTM(3, 6, proj_size=2)), "x")
    assert read.modules[""].attrs["proj_size"] == 2
    assert read.tensors["weight_hr_l0"].shape == (2, 6)
    cell = read_checkpoint(saved(nn.RNNCell(3, 4, nonlinearity="relu")), "x")
    assert cell.modules[""].kind == "RNNCell"
    assert cell.modules[""].attrs["nonlinearity"] == "relu"


def test_torchscript(net: Net) -> None:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(net), file)
    read = read_checkpoint(file.getvalue(), "x")
    assert {"mean", "fc.weight"} <= read.tensors.keys()
    agrees_but(read, net.state_dict(), "scratch")
    settings(read)
    assert read.modules["lstm"].attrs["hidden_size"] == 4
    assert read.modules["gru"].attrs["input_size"] == 8


def test_traced_torchscript(net: Net) -> None:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, torch.ones(2, 5, 3)), file)
    read = read_checkpoint(file.getvalue(), "x")
    agrees_but(read, net.state_dict(), "scratch")
    settings(read)


def agrees_but(read: Checkpoint, expected: dict[str, Any], extra: str) -> None:
    """TorchScript keeps buffers that a state_dict leaves out."""
    left = {name: array for name, array in read.tensors.items() if name != extra}
    agrees(Checkpoint(left, read.modules, read.framework, read.source), expected)


def test_exported_program(net: Net) -> None:
    program = torch.export.export(net, (torch.ones(2, 5, 3),))
    file = io.BytesIO()
    torch.export.save(program, file)
    assert recognises(file.getvalue())
    read = read_checkpoint(file.getvalue(), "x.pt2")
    agrees_but(read, net.state_dict(), "scratch")
    settings(read)


def test_exported_programs_of_older_versions(net: Net) -> None:
    """Their weights are a file of torch.save inside the archive."""
    weights = saved(net.state_dict())
    layouts = (
        {"serialized_exported_program.json": b"{}", "serialized_state_dict.pt": weights},
        {"a/models/model.json": b"{}", "a/data/weights/model.pt": weights},
    )
    for members in layouts:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        assert recognises(file.getvalue())
        agrees(read_checkpoint(file.getvalue(), "x.pt2"), net.state_dict())


@pytest.mark.parametrize(
    ("meta", "error", "message"),
    [
        ({"sizes": [{"as_int": 9}]}, ModelFormatError, "needs 36 bytes of storage 'weight_0'"),
        ({"sizes": [{"as_int": -1}]}, ModelFormatError, "size -1"),
        ({"sizes": [{"as_expr": "s0"}]}, ModelFormatError, "sizes or strides of a tensor is no"),
        ({"dtype": 99}, UnsupportedModelError, "element type number 99 is not known"),
        ({"dtype": []}, UnsupportedModelError, "element type number a list is not known"),
        ({"storage_offset": None}, ModelFormatError, "offset -1"),
    ],
)
def test_exported_weights_that_lie(meta: Any, error: type[Exception], message: str) -> None:
    honest = {
        "dtype": 7,
        "sizes": [{"as_int": 2}],
        "strides": [{"as_int": 1}],
        "storage_offset": {"as_int": 0},
    }
    weight = {"path_name": "weight_0", "use_pickle": False, "tensor_meta": {**honest, **meta}}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/models/model.json", "{}")
        archive.writestr("a/data/weights/weight_0", bytes(8))
        table = json.dumps({"config": {"w": weight}})
        archive.writestr("a/data/weights/model_weights_config.json", table)
    with pytest.raises(error, match=message):
        read_checkpoint(file.getvalue(), "x.pt2")


QUANTISED = (nn.LSTM, nn.GRU, nn.Linear)


@pytest.mark.parametrize("whole", [False, True], ids=["state_dict", "module"])
def test_dynamic_quantisation(net: Net, whole: bool) -> None:
    made = torch.ao.quantization.quantize_dynamic(net, set(QUANTISED), dtype=torch.qint8)
    read = read_checkpoint(saved(made if whole else made.state_dict()), "x")
    assert sorted(read.tensors) == sorted(net.state_dict())
    wanted: dict[str, Any] = {"fc.weight": made.fc.weight(), "fc.bias": made.fc.bias()}
    for layer in ("lstm", "gru"):
        packed = getattr(made, layer)._all_weight_values
        directions = 2 if layer == "lstm" else 1
        for index, values in enumerate(packed):
            _, biases, _, _, weights = values.param.__getstate__()[0]
            end = f"_l{index // directions}" + ("_reverse" if index % directions else "")
            for kind, weight, bias in zip(("ih", "hh"), weights, biases, strict=True):
                wanted[f"{layer}.weight_{kind}{end}"] = weight.__getstate__()[0][0]
                wanted[f"{layer}.bias_{kind}{end}"] = bias
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(read.tensors[name], as_read(tensor), err_msg=name)
    note = read.modules["lstm"].attrs["quantized"]
    assert note["dtype"] == "qint8" and note["reduce_range"] is True
    assert note["scales"]["weight_hh_l1_reverse"] == wanted["lstm.weight_hh_l1_reverse"].q_scale()
    assert read.modules["gru"].kind == "GRU"


def test_quantisation_of_cells_and_channels() -> None:
    cells = nn.Sequential(nn.LSTMCell(3, 4), nn.GRUCell(4, 4))
    made = torch.ao.quantization.quantize_dynamic(cells, {nn.LSTMCell, nn.GRUCell})
    read = read_checkpoint(saved(made.state_dict()), "x")
    assert sorted(read.tensors) == sorted(cells.state_dict())
    for name, tensor in cells.state_dict().items():
        np.testing.assert_allclose(read.tensors[name], tensor.numpy(), atol=0.01)
    rows = torch.quantize_per_channel(
        torch.randn(4, 3), torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0, 1, 2, 3]), 0,
        torch.quint8,
    )  # fmt: skip
    np.testing.assert_allclose(
        read_checkpoint(saved({"w": rows}), "x").tensors["w"], rows.dequantize().numpy(), rtol=1e-6
    )


def test_quantised_torchscript(net: Net) -> None:
    made = torch.ao.quantization.quantize_dynamic(net, set(QUANTISED), dtype=torch.qint8)
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(made), file)
    read = read_checkpoint(file.getvalue(), "x")
    plain = read_checkpoint(saved(made.state_dict()), "x").tensors
    assert sorted(set(read.tensors) - {"scratch"}) == sorted(plain)
    for name, array in plain.items():
        np.testing.assert_array_equal(read.tensors[name], array)


def test_half_packing(net: Net) -> None:
    made = torch.ao.quantization.quantize_dynamic(net, set(QUANTISED), dtype=torch.float16)
    read = read_checkpoint(saved(made.state_dict()), "x")
    assert sorted(read.tensors) == sorted(net.state_dict())
    for name, tensor in net.state_dict().items():
        np.testing.assert_allclose(read.tensors[name], tensor.numpy(), atol=1e-3)


def test_quantised_layers_or_directions() -> None:
    made = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(4, 4, 2)), {nn.LSTM})
    with pytest.raises(UnsupportedModelError, match=r"'0'.*two layers or two directions"):
        read_checkpoint(saved(made.state_dict()), "x")
    assert "0.weight_ih_l1" in read_checkpoint(saved(made), "x").tensors


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(dim: int | None) -> None:
    old = nn.utils.weight_norm(nn.LSTM(3, 4), "weight_hh_l0", dim=dim)
    new = nn.utils.parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0", dim=dim)
    conv = nn.utils.weight_norm(nn.Conv1d(3, 4, 5), dim=dim)
    for layer, name in ((old, "weight_hh_l0"), (new, "weight_hh_l0"), (conv, "weight")):
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(1.7)
        read = read_checkpoint(saved(layer.state_dict()), "x").tensors
        if layer is not new:
            nn.utils.remove_weight_norm(layer, name)
        expected = getattr(layer, name).detach().numpy()
        np.testing.assert_allclose(read[name], expected, rtol=1e-6)
        assert not [n for n in read if n.endswith(("_g", "_v")) or "original" in n]


def test_names_that_only_look_parametrised() -> None:
    tensors = {
        "b_g": torch.ones(4),
        "b_v": torch.ones(4),
        "w_g": torch.ones(4, 4),
        "w_v": torch.ones(4, 4),
        "count": torch.tensor(3),
    }
    agrees(read_checkpoint(saved(tensors), "x"), tensors)


def test_spectral_norm() -> None:
    torch.manual_seed(1)
    layers = (
        nn.utils.spectral_norm(nn.Linear(3, 4)),
        nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)),
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
        nn.utils.spectral_norm(nn.Conv1d(3, 4, 5)),
    )
    for layer in layers:
        x = torch.ones(1, 3, 9) if layer.weight.ndim == 3 else torch.ones(2, layer.in_features)
        layer(x)
        state = saved(layer.eval().state_dict())
        layer(x)
        read = read_checkpoint(state, "x").tensors
        assert sorted(read) == ["bias", "weight"]
        np.testing.assert_allclose(read["weight"], layer.weight.detach().numpy(), rtol=1e-5)


def test_other_parametrisations_are_refused() -> None:
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(3, 3))
    with pytest.raises(UnsupportedModelError, match=r"'weight' is parametrised by .*accepted"):
        read_checkpoint(saved(layer.state_dict()), "x")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (lambda: {"w": torch.eye(3).to_sparse()}, UnsupportedModelError, "'w'.*sparse"),
        (lambda: {"w": torch.zeros(2, device="meta")}, UnsupportedModelError, "'w'.*meta"),
        (
            lambda: {"w": torch.zeros(2).to(torch.float8_e5m2)},
            UnsupportedModelError,
            "'w'.*float8_e5m2; accepted",
        ),
        (
            lambda: {"w": torch.zeros(2).to(torch.complex64).conj()},
            UnsupportedModelError,
            "lazy conjugate",
        ),
        (lambda: 3, UnsupportedModelError, "no weights in it; it holds 3"),
    ],
)
def test_refused_tensors(value: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_checkpoint(saved(value()), "x")


def test_damaged_data_is_noticed(net: Net) -> None:
    content = bytearray(saved(net.state_dict()))
    content[content.index(net.fc.weight.detach().numpy().tobytes()) + 3] ^= 1
    with pytest.raises(ModelFormatError, match=r"member 'archive/data/.*' ?: checksum mismatch"):
        read_checkpoint(bytes(content), "x")


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("dtln-pytorch/model.pth", None),
        ("gtcrn/model_trained_on_dns3.tar", "model"),
        ("noaa-lstm/model_epoch009.pt", None),
    ],
)
def test_published_files(zoo: Path, path: str, key: str | None) -> None:
    content = (zoo / path).read_bytes()
    expected = reread(content)
    read = read_checkpoint(content, path)
    agrees(read, expected if key is None else expected[key])
