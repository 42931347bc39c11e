"""Make the golden files of PyTorch: ``python tests/golden/make_torch.py`` with PyTorch 2.

The same seeds give the same bytes with the same version of PyTorch, but for two of its containers:
the old one names each storage by its address, and TorchScript archives carry an id of their own.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
import tarfile
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from common import Array, Folder, drawn, rezipped
from networks import Cells, Classifier, Head, Lit, Tagger
from torch import nn
from torch.nn.utils import parametrizations

warnings.simplefilter("ignore")
torch.set_num_threads(1)

LEGACY: dict[str, Any] = {"_use_new_zipfile_serialization": False}
TAGGER = (
    "rn.Sequential(rn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True), "
    "rn.Linear(8, 2))"
)
NAMED = (
    "rn.Sequential(rn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True, name='lstm'),"
    " rn.Linear(8, 2, name='fc'))"
)
CLASSIFIER = (
    "rn.Sequential(rn.Embedding(11, 3), rn.GRU(3, 5, batch_first=True, return_sequences=False), "
    "rn.Linear(5, 3), rn.Softmax())"
)
CELLS = (
    "rn.Sequential(rn.LSTM(3, 4, name='lstm'), rn.GRU(4, 5, name='gru'), "
    "rn.RNN(5, 4, name='tanh'), rn.RNN(4, 3, nonlinearity='relu', name='relu'))"
)

Net = nn.Module


def filled(net: Any, seed: int = 1) -> Any:
    """Every parameter drawn anew, so that the files do not depend on PyTorch's generator."""
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            value = drawn(seed * 1000 + i, *parameter.shape, scale=0.5)
            parameter.copy_(torch.from_numpy(value))
    return net.eval()


def saved(value: Any, **options: Any) -> bytes:
    """What ``torch.save`` writes; the archive inside is named ``archive``."""
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def flat(value: Any) -> list[Any]:
    """Leaves of nested tuples."""
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in flat(part)]
    return [value]


def outcome(net: Any, x: Any) -> list[Array]:
    with torch.no_grad():
        return [y.numpy() for y in flat(net(x))]


def computed(net: Any, x: Array, weights: Any = None) -> tuple[list[Array], list[Array]]:
    """Outputs in float64 and in float32, from the same float32 weights."""
    single = copy.deepcopy(net)
    if weights is not None:
        single.load_state_dict(weights)
    double = copy.deepcopy(single).double()
    given = torch.from_numpy(x)
    exact = outcome(double, given.double() if given.is_floating_point() else given.long())
    return exact, outcome(single, given if given.is_floating_point() else given.long())


def plain_pickles() -> None:
    """Old containers write the source text of every class beside it, and where it stood."""
    torch.serialization.get_source_lines_and_file = lambda obj, error_msg=None: (
        [f"class {obj.__name__}:\n", "    pass\n"],
        1,
        f"{obj.__module__.rpartition('.')[2]}.py",
    )


FOLDER = Folder(
    "torch",
    {"torch": torch.__version__, "numpy": np.__version__, "safetensors": safetensors.__version__},
)
X = drawn(2, 2, 6, 3)
IDS = np.random.default_rng(3).integers(0, 11, (3, 7)).astype(np.int32)


def add(
    file: str,
    content: bytes,
    what: str,
    net: Any,
    x: Array = X,
    *,
    steps: int | None = None,
    **load: str,
) -> None:
    exact, witness = computed(net, x)
    FOLDER.add(file, content, what, [x], exact, witness, load=load, steps=steps)


# ------------------------------------------------------------------ containers, one network


def script(net: Net, kind: str) -> bytes:
    """A TorchScript archive without its debug records, which name source files."""
    example = torch.from_numpy(X)
    made = torch.jit.script(net) if kind == "script" else torch.jit.trace(net, (example,))
    file = io.BytesIO()
    torch.jit.save(made, file)
    return rezipped(file.getvalue(), drop=lambda name: name.endswith(".debug_pkl"))


def exported(net: Net) -> bytes:
    """A ``.pt2`` archive; the stack traces of its nodes name source files."""
    program = torch.export.export(net, (torch.from_numpy(X),))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    file = io.BytesIO()
    torch.export.save(program, file)
    return rezipped(file.getvalue())


def first_tar(state: dict[str, torch.Tensor]) -> bytes:
    """A file as PyTorch 0.1 wrote it; no PyTorch of today can, but it reads them."""
    head = b"\x80\x02"
    storages, described, objects = pickle.dumps(len(state), 2), pickle.dumps(len(state), 2), b"}("
    for index, (name, tensor) in enumerate(state.items()):
        key, number, array = 100 + index, 200 + index, tensor.numpy()
        storages += head + b"K" + bytes([key]) + b"X\x03\x00\x00\x00cpuctorch\nFloatStorage\n\x87."
        storages += array.size.to_bytes(8, "little") + array.tobytes()
        described += head + b"K" + bytes([number]) + b"K" + bytes([key])
        described += b"ctorch\nFloatTensor\n\x87."
        # Rank as 4 bytes and 4 of padding, sizes, strides, offset.
        numbers = (array.ndim, *array.shape, *(s // 4 for s in array.strides), 0)
        described += b"".join(n.to_bytes(8, "little") for n in numbers)
        objects += b"X" + len(name).to_bytes(4, "little") + name.encode()
        objects += b"X\x03\x00\x00\x00" + str(number).encode() + b"Q"
    parts = {
        "sys_info": pickle.dumps({"little_endian": True}, 2),
        "pickle": head + objects + b"u.",
        "tensors": described,
        "storages": storages + pickle.dumps([], 2),
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    content = file.getvalue()
    with tempfile.NamedTemporaryFile() as named:
        named.write(content)
        named.flush()
        again = torch.load(named.name, weights_only=False)
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())
    return content


def on_a_gpu(value: Any, **options: Any) -> bytes:
    """What a machine with a GPU writes: storages that say where they were."""
    here = torch.serialization.location_tag
    torch.serialization.location_tag = lambda storage: "cuda:0"
    try:
        return saved(value, **options)
    finally:
        torch.serialization.location_tag = here


def containers() -> None:
    net = filled(Tagger())
    state = net.state_dict()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    plain = dict(state)
    npz = io.BytesIO()
    np.savez(npz, **arrays)
    optimizer = torch.optim.Adam(net.parameters())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(net)
    optimizer.step()
    net.load_state_dict(before.state_dict())
    for parameter in net.parameters():
        parameter.grad = None
    files = {
        "zip.pt": (saved(state), "state_dict in a zip archive"),
        "zip_protocol_5.pth": (saved(state, pickle_protocol=5), "pickled with protocol 5"),
        "legacy.pth": (saved(state, **LEGACY), "state_dict in the container of PyTorch 1.5"),
        "first.tar": (first_tar(plain), "state_dict in the container of PyTorch 0.1"),
        "cuda.bin": (on_a_gpu(state), "storages of a GPU, zip archive"),
        "cuda_legacy.pkl": (on_a_gpu(state, **LEGACY), "storages of a GPU, old container"),
        "weights.safetensors": (safetensors.torch.save(plain), "safetensors"),
        "weights.npz": (npz.getvalue(), "arrays by name"),
        "arrays.pkl": (pickle.dumps(arrays, 4), "arrays of NumPy in a pickle"),
        "training.pt": (
            saved({"epoch": 3, "model_state_dict": state, "optimizer": optimizer.state_dict()}),
            "state_dict beside that of the optimiser",
        ),
        "module.pt": (saved(net), "the module itself, zip archive"),
        "module_legacy.pt": (saved(net, **LEGACY), "the module itself, old container"),
        "script.pt": (script(net, "script"), "TorchScript, scripted"),
        "trace.pt": (script(net, "trace"), "TorchScript, traced"),
        "program.pt2": (exported(net), "torch.export"),
    }
    for file, (content, what) in files.items():
        add(file, content, what, net, architecture=TAGGER)


def prefixes() -> None:
    net, lit = filled(Tagger()), filled(Lit())
    for ahead in ("module.", "_orig_mod.", "module._orig_mod.", "encoder."):
        state = OrderedDict((ahead + name, t) for name, t in net.state_dict().items())
        load = {"architecture": NAMED}
        if ahead == "encoder.":
            load["prefix"] = "encoder"
        file = f"prefix_{ahead.strip('._').replace('.', '_')}.pt"
        add(file, saved(state), f"names begin with {ahead}", net, **load)
    checkpoint = {
        "epoch": 7, "global_step": 21, "pytorch-lightning_version": "2.5.0",
        "state_dict": lit.state_dict(), "loops": {}, "callbacks": {}, "optimizer_states": [],
        "lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": {"hidden": 4},
    }  # fmt: skip
    add("lightning.ckpt", saved(checkpoint), "Lightning", lit.model, architecture=NAMED)


# ------------------------------------------------------------------ layers and their options


def layers() -> None:
    """One recurrent layer of a checkpoint, by `layer=`; its configuration as far as it is known."""
    rows: list[tuple[str, str, Any, int]] = [
        ("LSTM", "lstm", {}, 4),
        ("LSTM", "lstm_no_bias", {"bias": False}, 4),
        ("LSTM", "lstm_3_layers", {"num_layers": 3}, 4),
        ("LSTM", "lstm_bidirectional", {"bidirectional": True}, 4),
        ("LSTM", "lstm_proj", {"proj_size": 2}, 4),
        ("LSTM", "lstm_proj_2_layers_bidirectional",
         {"proj_size": 3, "num_layers": 2, "bidirectional": True}, 5),
        ("GRU", "gru", {}, 4),
        ("GRU", "gru_no_bias", {"bias": False, "bidirectional": True}, 4),
        ("GRU", "gru_2_layers_bidirectional", {"num_layers": 2, "bidirectional": True}, 3),
        ("RNN", "rnn_tanh", {"bidirectional": True}, 4),
        ("RNN", "rnn_relu", {"nonlinearity": "relu", "num_layers": 2}, 4),
        ("RNN", "rnn_no_bias", {"bias": False}, 4),
        ("LSTM", "lstm_one_unit", {"bidirectional": True}, 1),
        ("GRU", "gru_17_units", {}, 17),
    ]  # fmt: skip
    x = drawn(4, 6, 2, 3)
    for kind, name, options, hidden in rows:
        made = getattr(nn, kind)(3, hidden, dropout=0.0, **options)
        width = (options.get("proj_size") or hidden) * (2 if made.bidirectional else 1)
        net = filled(Head(made, width), seed=5)
        load = {"layer": "rnn"}
        if kind == "RNN":
            words = {"num_layers": 1, "bias": True, "bidirectional": False, **options}
            told = ", ".join(f"{k}={v!r}" for k, v in words.items())
            load["architecture"] = f"rn.RNN(3, {hidden}, {told})"
        what = f"{kind} {options or 'as it comes'}, time first"
        add(f"{name}.pt", saved(net.state_dict()), what, net.rnn, x, steps=6, **load)
    first = filled(Head(nn.RNN(3, 4, 2, nonlinearity="relu", batch_first=True), 4), seed=6)
    what = "relu and batch_first, which only the module says"
    add("rnn_module.pt", saved(first), what, first.rnn, X, layer="rnn")
    gru = filled(Head(nn.GRU(3, 4, batch_first=True, bidirectional=True), 8), seed=7)
    add("gru_module_legacy.pt", saved(gru, **LEGACY), "module", gru.rnn, X, layer="rnn")
    proj = filled(Head(nn.LSTM(3, 4, proj_size=2, batch_first=True), 2), seed=8)
    add("lstm_proj_script.pt", script(proj, "script"), "TorchScript", proj.rnn, X, layer="rnn")
    long = filled(Head(nn.LSTM(3, 6, 2), 6), seed=9)
    add("lstm_long.pt", saved(long.state_dict()), "120 steps", long.rnn, drawn(10, 120, 1, 3),
        steps=120, layer="rnn")  # fmt: skip
    many = filled(Head(nn.GRU(3, 6, bidirectional=True), 12), seed=9)
    add("gru_long.pt", saved(many.state_dict()), "120 steps", many.rnn, drawn(10, 120, 1, 3),
        steps=120, layer="rnn")  # fmt: skip


def cells() -> None:
    net = filled(Cells(), seed=11)
    x = drawn(12, 6, 2, 3)
    for name, content in (("cells", saved(net.state_dict())), ("cells_module", saved(net))):
        add(f"{name}.pt", content, "cells, stepped by hand", net, x, steps=6, architecture=CELLS)


def tables() -> None:
    net = filled(Classifier(), seed=13)
    state = net.state_dict()
    for name, content in (
        ("classifier.pt", saved(state)),
        ("classifier_module.pth", saved(net)),
        ("classifier.safetensors", safetensors.torch.save(dict(state))),
    ):
        add(name, content, "Embedding, GRU, last step, Softmax", net, IDS, architecture=CLASSIFIER)
    keys = {
        "enc_w_ih": "gru.weight_ih_l0", "enc_w_hh": "gru.weight_hh_l0",
        "enc_b_ih": "gru.bias_ih_l0", "enc_b_hh": "gru.bias_hh_l0",
    }  # fmt: skip
    npz = io.BytesIO()
    np.savez(npz, **{ours: state[theirs].numpy() for ours, theirs in keys.items()})
    told = {theirs.removeprefix("gru."): ours for ours, theirs in keys.items()}
    architecture = f"rn.GRU(3, 5, batch_first=True, weights={told!r})"
    what = "arrays with names of the author's"
    add("names.npz", npz.getvalue(), what, net.gru, X, architecture=architecture)
    order = np.concatenate([np.arange(4) + 4 * g for g in (1, 0, 3, 2)])
    lstm = filled(nn.LSTM(3, 4, batch_first=True), seed=14)
    npz = io.BytesIO()
    np.savez(npz, **{f"rnn.{n}": t.numpy()[order] for n, t in lstm.state_dict().items()})
    architecture = "rn.LSTM(3, 4, batch_first=True, gate_order='fiog', name='rnn')"
    what = "gates in the order f, i, o, g"
    add("gate_order.npz", npz.getvalue(), what, lstm, X, architecture=architecture)


# ------------------------------------------------------------------ how weights are stored


def types() -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        net = filled(Tagger(), seed=15)
        stored = {name: t.to(dtype) for name, t in net.state_dict().items()}
        net.load_state_dict({name: t.float() for name, t in stored.items()})
        name = str(dtype).removeprefix("torch.")
        what = f"weights in {name}"
        add(f"{name}.pt", saved(stored), what, net, architecture=TAGGER)
        add(f"{name}_legacy.pt", saved(stored, **LEGACY), what, net, architecture=TAGGER)
        content = safetensors.torch.save(stored)
        add(f"{name}.safetensors", content, what, net, architecture=TAGGER)


def storages() -> None:
    """Views: several tensors in one storage, transposed ones, and ones with gaps."""
    net = filled(Tagger(), seed=16)
    state, ways = net.state_dict(), {}
    whole = torch.cat([t.flatten() for t in state.values()])
    start, shared = 0, {}
    for name, t in state.items():
        shared[name] = whole[start : start + t.numel()].view(t.shape)
        start += t.numel()
    ways["shared"] = (shared, "all weights are views of one storage")
    turned = {n: t.t().contiguous().t() if t.ndim == 2 else t for n, t in state.items()}
    ways["transposed"] = (turned, "matrices with their columns first")
    gaps = {n: torch.stack([t, -t], -1).flatten(-2)[..., ::2] for n, t in state.items()}
    ways["gaps"] = (gaps, "every second number of a storage")
    for name, (stored, what) in ways.items():
        assert all(torch.equal(stored[n], t) for n, t in state.items())
        add(f"{name}.pt", saved(stored), what, net, architecture=TAGGER)
        add(f"{name}_legacy.pt", saved(stored, **LEGACY), what, net, architecture=TAGGER)


def norms() -> None:
    def tagger(change: Callable[[Tagger], Any], seed: int) -> Any:
        torch.manual_seed(seed)
        net = filled(Tagger(), seed)
        change(net)
        return net.eval()

    recurrent = ("weight_ih_l0", "weight_hh_l0", "weight_hh_l1_reverse")

    def each(norm: Any, names: Sequence[str], target: Any) -> None:
        for name in names:
            norm(target, name)

    ways: dict[str, tuple[Callable[[Tagger], Any], str]] = {
        "weight_norm": (
            lambda n: (each(nn.utils.weight_norm, recurrent, n.lstm), nn.utils.weight_norm(n.fc)),
            "weight_norm, old: weight_g and weight_v",
        ),
        "weight_norm_parametrised": (
            lambda n: (
                each(parametrizations.weight_norm, recurrent, n.lstm),
                parametrizations.weight_norm(n.fc),
            ),
            "weight_norm as a parametrisation",
        ),
        "spectral_norm": (
            lambda n: (
                nn.utils.spectral_norm(n.lstm, "weight_hh_l0"),
                nn.utils.spectral_norm(n.fc),
            ),
            "spectral_norm, old: weight_orig, weight_u, weight_v",
        ),
        "spectral_norm_parametrised": (
            lambda n: (
                parametrizations.spectral_norm(n.lstm, "weight_hh_l0"),
                parametrizations.spectral_norm(n.fc),
            ),
            "spectral_norm as a parametrisation",
        ),
    }
    for seed, (name, (change, what)) in enumerate(ways.items(), 17):
        net = tagger(change, seed)
        net(torch.from_numpy(X))  # hooks compute the weights they stand for
        plain = Tagger().eval()
        parts = dict(plain.named_parameters())
        with torch.no_grad():
            for key, parameter in parts.items():
                owner, leaf = net.get_submodule(key.rpartition(".")[0]), key.rpartition(".")[2]
                parameter.copy_(getattr(owner, leaf))
        load = {"architecture": NAMED}
        content = saved(net.state_dict())
        exact, witness = normed(net, plain)
        FOLDER.add(f"{name}.pt", content, what, [X], exact, witness, load=load)


def normed(net: Any, plain: Any) -> tuple[list[Array], list[Array]]:
    """Outputs in float64 with norms divided out in float64, and in float32 by PyTorch itself."""
    state = net.state_dict()
    double = copy.deepcopy(plain).double()
    parts = dict(double.named_parameters())
    with torch.no_grad():
        for key, parameter in parts.items():
            module, leaf = key.rpartition(".")[::2]
            new = f"{module}.parametrizations.{leaf}"
            if f"{key}_g" in state or f"{new}.original1" in state:
                old = f"{key}_g" in state
                g = state[f"{key}_g" if old else f"{new}.original0"].double()
                v = state[f"{key}_v" if old else f"{new}.original1"].double()
                parameter.copy_(g * v / v.norm(dim=1, keepdim=True))
            elif f"{key}_orig" in state or f"{new}.original" in state:
                old = f"{key}_orig" in state
                w = state[f"{key}_orig" if old else f"{new}.original"].double()
                u = state[f"{key}_u" if old else f"{new}.0._u"].double()
                right = state[f"{key}_v" if old else f"{new}.0._v"].double()
                parameter.copy_(w / (u @ (w @ right)))
            else:
                parameter.copy_(state[key].double())
    single = outcome(plain, torch.from_numpy(X))
    exact = outcome(double, torch.from_numpy(X).double())
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(single, exact, strict=True))
    return exact, single


def quantised() -> None:
    """Dynamic quantisation: the numbers are those of the int8 weights, computed exactly.

    PyTorch rounds the activations as well, so its own outputs are far from float64.
    """
    cases: list[tuple[str, Any, set[Any], Array, dict[str, str]]] = [
        ("tagger", filled(Tagger(), 21), {nn.LSTM, nn.Linear}, X, {"architecture": TAGGER}),
        ("classifier", filled(Classifier(), 22), {nn.GRU, nn.Linear}, IDS,
         {"architecture": CLASSIFIER}),
        ("cells", filled(Cells(), 23), {nn.LSTMCell, nn.GRUCell, nn.RNNCell}, drawn(24, 6, 2, 3),
         {"architecture": CELLS}),
    ]  # fmt: skip
    torch.backends.quantized.engine = "fbgemm"
    for name, net, kinds, x, load in cases:
        made = torch.ao.quantization.quantize_dynamic(copy.deepcopy(net), kinds, dtype=torch.qint8)
        plain = copy.deepcopy(net)
        with torch.no_grad():
            for key, parameter in plain.named_parameters():
                parameter.copy_(dequantised(parameter) if is_quantised(key, made) else parameter)
        exact, _ = computed(plain, x)
        witness = outcome(made, torch.from_numpy(x if x.dtype != np.int32 else x.astype("i8")))
        assert all(np.abs(a - b).max() < 0.1 for a, b in zip(exact, witness, strict=True))
        steps = x.shape[0] if name == "cells" else None
        FOLDER.add(f"quantised_{name}.pt", saved(made.state_dict()), "dynamically quantised", [x],
                   exact, witness, load={**load, "compute_type": "float32"},
                   steps=steps)  # fmt: skip


def is_quantised(key: str, made: Any) -> bool:
    owner = made.get_submodule(key.rpartition(".")[0])
    return key.rpartition(".")[2].startswith("weight") and "quantized" in type(owner).__module__


def dequantised(weight: torch.Tensor) -> torch.Tensor:
    """What fbgemm stores of a matrix: int8, one scale for all."""
    observer = torch.ao.quantization.default_dynamic_qconfig.weight()
    observer(weight)
    scale, zero = observer.calculate_qparams()
    made = torch.quantize_per_tensor(weight.detach(), float(scale), int(zero), torch.qint8)
    return made.dequantize()


def main() -> None:
    os.environ.setdefault("PYTHONHASHSEED", "0")
    plain_pickles()
    for part in (containers, prefixes, layers, cells, tables, types, storages, norms, quantised):
        part()
    FOLDER.close()


if __name__ == "__main__":
    main()
