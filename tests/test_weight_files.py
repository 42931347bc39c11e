"""Files of weights without a graph: safetensors and npz, real ones and hostile ones."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.importers import npz, safetensors

Array = np.ndarray[Any, Any]


BLOCKED = ("torch", "tensorflow", "keras", "tf_keras", "h5py", "onnxruntime", "onnx", "pyfive",
           "safetensors")  # fmt: skip


def weights(cell: str = "LSTM", inputs: int = 3, hidden: int = 4) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    rows = {"LSTM": 4, "GRU": 3, "RNN": 1}[cell] * hidden
    shapes = {"weight_ih_l0": (rows, inputs), "weight_hh_l0": (rows, hidden),
              "bias_ih_l0": (rows,), "bias_hh_l0": (rows,)}  # fmt: skip
    return {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def written(tensors: dict[str, Array], **metadata: str) -> bytes:
    from safetensors.numpy import save

    return bytes(save(tensors, metadata or None))


def test_safetensors_reads_what_the_library_writes() -> None:
    rng = np.random.default_rng(0)
    kinds = ("f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    given = {k: (100 * rng.standard_normal((3, 5))).astype(k) for k in kinds}
    given |= {"empty": np.zeros((0, 4), np.float32), "scalar": np.array(2.5, np.float32)}
    found = safetensors.read_checkpoint(written(given, note="hello"), "f")
    assert set(found.tensors) == set(given)
    for key, value in given.items():
        assert found.tensors[key].dtype == value.dtype
        assert found.tensors[key].flags.aligned
        np.testing.assert_array_equal(found.tensors[key], value)


def test_half_precision_is_widened() -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save

    values = torch.tensor([[1.5, -3e-6, 65504.0, float("inf"), 1e-7]])
    tensors = {"h": values.half(), "b": values.bfloat16()}
    found = safetensors.read_checkpoint(save(tensors), "f").tensors
    for key, value in tensors.items():
        assert found[key].dtype == np.float32
        np.testing.assert_array_equal(found[key], value.float().numpy())


def test_npz_reads_what_numpy_writes() -> None:
    rng = np.random.default_rng(0)
    given = {k: rng.integers(0, 2, (3, 5)).astype(k) for k in ("<f8", ">f4", "<f2", ">i2", "?")}
    given |= {"fortran": np.asfortranarray(rng.standard_normal((3, 4))), "scalar": np.array(2.5)}
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **given)  # type: ignore[operator]
        found = npz.read_checkpoint(file.getvalue(), "f").tensors
        assert list(found) == list(given)
        for key, value in given.items():
            assert found[key].dtype.isnative
            assert found[key].flags.c_contiguous
            np.testing.assert_array_equal(found[key], value)
        assert found["<f2"].dtype == np.float32


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_load_takes_a_layer_of_a_file(tmp_path: Path, cell: str) -> None:
    tensors = {f"net.rnn.{k}": v for k, v in weights(cell).items()}
    path = tmp_path / "weights"
    path.write_bytes(written(tensors))
    other = tmp_path / "other"
    with other.open("wb") as file:
        np.savez(file, **tensors)
    x = np.random.default_rng(1).standard_normal((5, 2, 3)).astype(np.float32)
    results = [
        rn.load(path, layer="net.rnn").run(x),
        rn.load(other, layer="rnn", prefix="net").run(x),
        rn.load(other, architecture=getattr(rn, cell)(3, 4)).run(x),
    ]
    for result in results:
        np.testing.assert_array_equal(result["output"], results[0]["output"])


def test_names_and_gate_order_can_be_said() -> None:
    tensors = weights("GRU")
    order = [1, 0, 2]  # z, r, n
    shuffled = {k: np.concatenate([np.split(v, 3)[g] for g in order]) for k, v in tensors.items()}
    names = {k: f"enc_{i}" for i, k in enumerate(tensors)}
    file = io.BytesIO()
    np.savez(file, **{names[k]: v for k, v in shuffled.items()})
    net = rn.GRU(3, 4, weights=names, gate_order="zrn")
    x = np.random.default_rng(1).standard_normal((5, 2, 3)).astype(np.float32)
    plain = rn.load(written(tensors), architecture=rn.GRU(3, 4)).run(x)["output"]
    got = rn.load(file.getvalue(), architecture=net).run(x)["output"]
    np.testing.assert_array_equal(got, plain)
    with pytest.raises(rn.UnsupportedModelError, match="gate_order is 'ifgo'"):
        rn.GRU(3, 4, gate_order="ifgo")
    with pytest.raises(rn.ModelFormatError, match="names 'nothing' for 'weight_ih_l0'"):
        rn.load(file.getvalue(), architecture=rn.GRU(3, 4, weights={"weight_ih_l0": "nothing"}))


def test_files_of_weights_need_an_architecture_and_models_take_none() -> None:
    content = written(weights())
    with pytest.raises(rn.UnsupportedModelError, match=r"weights but no graph.*weight_ih_l0"):
        rn.load(content)
    with pytest.raises(rn.UnsupportedModelError, match="constants"):
        rn.load(content, layer="", constants={"a": 1})
    with pytest.raises(rn.UnsupportedModelError, match="files of weights"):
        rn.load(b"\x08\x0a", layer="x")


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


DATA = bytes(8)
HOSTILE: dict[str, bytes] = {
    "at least 8": b"\x02\x00",
    "header is said": packed(entry(), DATA, 1 << 40),
    "headers at most": packed(entry(), DATA, (1 << 64) - 1),
    "does not start": packed(b" " + json.dumps(entry()).encode(), DATA),
    "is no JSON: ": packed(b'{"a": ', DATA),
    "is no JSON: 'utf-8'": packed(b'{"\xff": 1}', DATA),
    "is no JSON: maximum recursion": packed(b'{"a":' + b"[" * 100000, DATA),
    "'a' twice": packed(b'{"a": 1, "a": 2}', DATA),
    "'dtype' twice": packed(b'{"a": {"dtype": "F32", "dtype": "F64"}}', DATA),
    "number 99999999999999999...": packed(b'{"a": ' + b"9" * 100000 + b"}", DATA),
    "number 1.5": packed(entry(shape=[1.5]), DATA),
    "number NaN": packed(b'{"a": NaN}', DATA),
    "expected the fields": packed(entry(more=1), DATA),
    "expected the fields data_offsets": packed({"a": []}, DATA),
    "dtype is 'F8_E4M3'": packed(entry(dtype="F8_E4M3"), DATA),
    "dtype is []": packed(entry(dtype=[]), DATA),
    "shape is [-2]": packed(entry(shape=[-2]), DATA),
    "shape is [True, 2]": packed(entry(shape=[True, 2]), DATA),
    "shape is [0, 0": packed(entry(shape=[0] * 33, data_offsets=[0, 0]), DATA),
    "is too large": packed(entry(shape=[1 << 30, 1 << 30]), DATA),
    "is too large ": packed(entry(shape=[0, (1 << 53) + 1], data_offsets=[0, 0])),
    "data_offsets are [0, 9]": packed(entry(data_offsets=[0, 9]), DATA),
    "data_offsets are [8, 0]": packed(entry(data_offsets=[8, 0]), DATA),
    "data_offsets are [0]": packed(entry(data_offsets=[0]), DATA),
    "takes 12 bytes": packed(entry(shape=[3]), DATA),
    "overlaps": packed(entry() | {"b": entry()["a"]}, DATA),
    "gap": packed(entry(data_offsets=[4, 12]), bytes(12)),
    "4 bytes after the last": packed(entry(), bytes(12)),
    "__metadata__": packed(entry() | {"__metadata__": {"a": 1}}, DATA),
    "'__metadata__'": packed(entry() | {"__metadata__": []}, DATA),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_damaged_safetensors_are_refused(message: str) -> None:
    with pytest.raises((rn.ModelFormatError, rn.UnsupportedModelError)) as caught:
        safetensors.read_checkpoint(HOSTILE[message], "file.bin")
    assert message.strip() in str(caught.value)
    assert str(caught.value).startswith("file.bin")


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + data


def described(descr: str = "'<f4'", shape: str = "(2,)", data: bytes = DATA) -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", data)


def objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    return file.getvalue()


def damaged() -> bytes:
    content = bytearray(zipped(("a.npy", described())))
    content[content.index(DATA)] ^= 1
    return bytes(content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("Python objects", lambda: zipped(("a.npy", objects()))),
        ("header is damaged", lambda: zipped(("a.npy", b"\x93NUMPY\x01\x00"))),
        ("version 1 or 2", lambda: zipped(("a.npy", b"nothing of the sort"))),
        ("header is damaged", lambda: zipped(("a.npy", npy("__import__('os').getcwd()")))),
        ("header is damaged", lambda: zipped(("a.npy", npy("(" * 9000)))),
        ("header is damaged", lambda: zipped(("a.npy", npy(" " * 20000, version=b"\x02\x00")))),
        ("version 1 or 2", lambda: zipped(("a.npy", npy("{}", version=b"\x03\x00")))),
        ("takes 4000000000000", lambda: zipped(("a.npy", described(shape="(10000000,100000)")))),
        ("is too large", lambda: zipped(("a.npy", described(shape="(0,10000000000000000)")))),
        ("is too large", lambda: zipped(("a.npy", described(shape="(10000000,10000000000)")))),
        ("takes 8 bytes; there are 4", lambda: zipped(("a.npy", described(data=bytes(4))))),
        ("expected sizes", lambda: zipped(("a.npy", described(shape="(-2,)")))),
        ("type is '<U2'", lambda: zipped(("a.npy", described(descr="'<U2'")))),
        ("type is '<c8'", lambda: zipped(("a.npy", described(descr="'<c8'", shape="(1,)")))),
        ("'a.npy' is there twice", lambda: zipped(("a.npy", described()), ("a.npy", described()))),
        ("damaged: Bad CRC", damaged),
        ("said to take", lambda: zipped(("a.npy", bytes(300 << 20)), method=zipfile.ZIP_DEFLATED)),
    ],
)  # fmt: skip
def test_damaged_npz_is_refused(message: str, make: Any) -> None:
    content = make()
    assert npz.is_npz(content)
    with pytest.raises(rn.RNNEngineError) as caught:
        rn.load(content, layer="")
    assert message in str(caught.value)


def test_zips_of_other_things_are_no_npz() -> None:
    assert not npz.is_npz(zipped(("a.txt", b"")))
    assert not npz.is_npz(zipped())
    assert not npz.is_npz(b"PK\x03\x04 nothing")


PHONEMES = (
    "<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 "
    "B CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG "
    "OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH"
)


@pytest.mark.zoo
def test_letters_to_phonemes_from_npz(zoo: Path) -> None:
    """g2p_en: an encoder, then a decoder stream that starts from the encoder's state."""
    path = zoo / "g2p_en" / "checkpoint20.npz"
    arrays = dict(np.load(path))

    def recurrent(part: str) -> rn.Model:
        ends = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
        names = {f"{ours}_l0": f"{part}_{theirs}" for ours, theirs in ends.items()}
        return rn.load(path, layer=part, architecture=rn.GRU(256, 256, weights=names))

    letters = [3 + ord(letter) - ord("a") for letter in "activationist"] + [2]
    encoded = recurrent("enc").run(arrays["enc_emb"][letters][:, None])
    stream = recurrent("dec").stream(batch=1)
    (state,) = stream.state
    stream.state = {state: encoded["h_n"]}
    said: list[str] = []
    last = 2
    while last != 3 and len(said) < 20:
        h = stream.step(arrays["dec_emb"][last][None, None])
        h = h["output"] if isinstance(h, dict) else h
        last = int(np.argmax(arrays["fc_w"] @ h[0, 0] + arrays["fc_b"]))
        said.append(PHONEMES.split()[last])
    assert " ".join(said[:-1]) == "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"


def test_no_framework_and_no_format_library_is_needed(tmp_path: Path) -> None:
    """With all of them unimportable, files of weights and .rnne files open."""
    rnne, npz_file, tensors = (tmp_path / n for n in ("m.rnne", "m.npz", "m.safetensors"))
    with npz_file.open("wb") as file:
        np.savez(file, **weights())  # type: ignore[arg-type]
    tensors.write_bytes(written(weights()))
    rn.save(rn.load(npz_file, layer=""), rnne)
    code = (
        "import sys\n"
        f"for name in {BLOCKED!r}: sys.modules[name] = None\n"
        "import numpy as np, rnnengine as rn\n"
        f"a = rn.load({str(rnne)!r}, verify=True)\n"
        f"b = rn.load({str(npz_file)!r}, layer='')\n"
        f"c = rn.load({str(tensors)!r}, architecture=rn.LSTM(3, 4))\n"
        "x = np.ones((5, 2, 3), np.float32)\n"
        "y = [m.run(x)['output'].tobytes() for m in (a, b, c)]\n"
        "assert y[0] == y[1] == y[2]\n"
    )
    home = str(Path(next(iter(rn.__path__))).parent)
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": home}, check=True)
