"""PyTorch files to running models: rn.load of a layer, and of a whole network."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch import nn  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Tagger(nn.Module):
    """A stack of layers whose settings a state_dict does not carry."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 6, 2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(12, 3)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.fc(self.lstm(x)[0])


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    torch.manual_seed(0)
    return Tagger().eval()


def files(net: Any, x: Any) -> dict[str, bytes]:
    """One network in every container."""
    made = {name: io.BytesIO() for name in ("zip", "legacy", "nested", "module", "script", "pt2")}
    torch.save(net.state_dict(), made["zip"])
    torch.save(net.state_dict(), made["legacy"], _use_new_zipfile_serialization=False)
    wrapped = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": wrapped}, made["nested"])
    torch.save(net, made["module"])
    torch.jit.save(torch.jit.script(net), made["script"])
    torch.export.save(torch.export.export(net, (x,)), made["pt2"])
    return {name: file.getvalue() for name, file in made.items()}


def test_a_network_from_every_container(tagger: Tagger) -> None:
    x = torch.randn(2, 7, 5)
    with torch.no_grad():
        expected = tagger.double()(x.double()).numpy()
    tagger.float()
    architecture = rn.Sequential(
        rn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True), rn.Linear(12, 3)
    )
    found = []
    for content in files(tagger, x).values():
        y = rn.load(content, architecture=architecture).run(x.numpy())
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6)
        found.append(np.asarray(y).tobytes())
    assert len(set(found)) == 1, "the same weights give the same bits"


def test_a_layer_with_the_settings_of_its_module(tagger: Tagger) -> None:
    x = torch.randn(2, 7, 5)
    with torch.no_grad():
        expected, (h, c) = tagger.lstm.double()(x.double())
    tagger.float()
    for name, content in files(tagger, x).items():
        if name in ("module", "script", "pt2"):
            y = rn.load(content, layer="lstm").run(x.numpy())
            np.testing.assert_allclose(y["output"], expected.numpy(), rtol=0, atol=2e-6)
            np.testing.assert_allclose(y["h_n"], h.numpy(), rtol=0, atol=2e-6)
            np.testing.assert_allclose(y["c_n"], c.numpy(), rtol=0, atol=2e-6)


WITHOUT = """
import sys
BLOCKED = {"torch", "tensorflow", "keras", "tf_keras", "h5py", "onnxruntime", "onnx", "pyfive",
           "safetensors"}
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Wall())
import numpy as np, rnnengine as rn
net = rn.Sequential(rn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True),
                    rn.Linear(12, 3))
x = np.ones((1, 4, 5), np.float32)
for path in sys.argv[1:]:
    y = rn.load(path, architecture=net).run(x).tobytes()
    if path.endswith("pt2.dat"):
        assert rn.load(path).run(x).tobytes() == y, "the file's own graph gives the same bits"
    print(y.hex())
assert not BLOCKED & set(sys.modules)
"""


def test_no_framework_is_needed(tagger: Tagger, tmp_path: Path) -> None:
    paths = []
    for name, content in files(tagger, torch.zeros(1, 4, 5)).items():
        paths.append(str(tmp_path / f"{name}.dat"))
        Path(paths[-1]).write_bytes(content)
    home = Path(next(iter(rn.__path__))).parent
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *paths],
        env=os.environ | {"PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(paths)
    assert len(set(done.stdout.split())) == 1


@pytest.mark.zoo
def test_a_published_model_as_series_and_as_steps(zoo: Path) -> None:
    """noaa-lstm: the whole series, one hour a step, and PyTorch."""
    path = zoo / "noaa-lstm/model_epoch009.pt"
    state = torch.load(path, map_location="cpu", weights_only=True)
    lstm = nn.LSTM(4, 126)
    lstm.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("lstm.")})
    x = torch.randn(48, 1, 4)
    with torch.no_grad():
        expected = lstm.double()(x.double())[0].numpy()
    model = rn.load(path, layer="lstm")
    y = model.run(x.numpy())["output"]
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6)
    stream = model.stream(batch=1)
    steps = [stream.step(x[t : t + 1].numpy()) for t in range(48)]
    parts = [np.asarray(step["output"] if isinstance(step, dict) else step) for step in steps]
    assert np.concatenate(parts).tobytes() == np.asarray(y).tobytes()
