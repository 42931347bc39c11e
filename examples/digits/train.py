"""Train the handwritten-digit reader that the demonstration runs, and write its files.

An image of scikit-learn's digits (8 x 8 pixels) is read as a sequence of eight rows. After every
row the network gives the probabilities of the ten digits, so it can be watched making up its mind.

Run ``python examples/digits/train.py``; it needs torch, onnx and scikit-learn and takes less than a
minute. The same versions on the same kind of machine give the same files, byte for byte.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import sklearn
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 20240607
HIDDEN_SIZE = 64
ROWS = 8
PIXELS = 8
CLASSES = 10
EPOCHS = 120
BATCH = 32
OPSET = 17
EXPECTED_IMAGES = 50
HERE = Path(__file__).resolve().parent

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """Images as rows: ``*_rows`` float32 [N, 8, 8] in 0..1, ``*_labels`` int64 [N]."""

    train_rows: Float32
    train_labels: Labels
    test_rows: Float32
    test_labels: Labels


class RowReader(nn.Module):
    """LSTM over the rows of an image, a linear layer after every row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(PIXELS, HIDDEN_SIZE, batch_first=True)
        self.linear = nn.Linear(HIDDEN_SIZE, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return logits [N, T, 10] for rows [N, T, 8]."""
        output, _ = self.lstm(rows)
        logits: torch.Tensor = self.linear(output)
        return logits


def load_data() -> Digits:
    """Read the digits scikit-learn carries and hold out a fifth of every class."""
    digits = load_digits()
    rows = (digits.images / 16).astype(np.float32)
    train_rows, test_rows, train_labels, test_labels = train_test_split(
        rows, digits.target, test_size=0.2, random_state=SEED, stratify=digits.target
    )
    return Digits(train_rows, train_labels, test_rows, test_labels)


def shifted(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move the batch by up to one pixel each way and fill with background."""
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    padded = nn.functional.pad(rows, (1, 1, 1, 1))
    return padded[:, 1 - down : 1 - down + ROWS, 1 - right : 1 - right + PIXELS]


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy after the last row, with a lighter share for every row before it."""
    weights = torch.linspace(0.0, 0.3, ROWS)
    weights[-1] = 1.0
    each = nn.functional.cross_entropy(
        logits.transpose(1, 2), labels[:, None].expand(-1, ROWS), reduction="none"
    )
    return (each * weights).sum(dim=1).mean()


def train(data: Digits) -> RowReader:
    """Train on the training part only; one thread, so that sums have one order."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(SEED)
    model = RowReader()
    rows, labels = torch.from_numpy(data.train_rows), torch.from_numpy(data.train_labels)
    steps = EPOCHS * -(-len(rows) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=8e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for batch in torch.randperm(len(rows), generator=generator).split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(model(shifted(rows[batch], generator)), labels[batch])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        if (epoch + 1) % 20 == 0:
            print(f"epoch {epoch + 1:3d}  loss {total / len(rows):.4f}")
    model.eval()
    return model


def probabilities(model: RowReader, rows: Float32) -> Float64:
    """Evaluate the trained network in float64: rows [N, T, 8] -> probabilities [N, T, 10]."""
    exact = RowReader().double()
    exact.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    with torch.no_grad():
        values: Float64 = torch.softmax(exact(torch.from_numpy(rows).double()), dim=-1).numpy()
    return values


def onnx_gates(tensor: torch.Tensor) -> Float32:
    """Reorder PyTorch's gates i, f, g, o along axis 0 into the i, o, f, c of ONNX."""
    i, f, g, o = tensor.detach().numpy().reshape(4, HIDDEN_SIZE, -1)
    ordered: Float32 = np.concatenate([i, o, f, g])
    return ordered


def build_onnx(model: RowReader) -> onnx.ModelProto:
    """Write the network with standard operators: ``rows`` in, ``probabilities`` out."""
    lstm = dict(model.lstm.named_parameters())
    biases = [onnx_gates(lstm[name]).ravel() for name in ("bias_ih_l0", "bias_hh_l0")]
    weights = {
        "lstm.W": onnx_gates(lstm["weight_ih_l0"])[None],
        "lstm.R": onnx_gates(lstm["weight_hh_l0"])[None],
        "lstm.B": np.concatenate(biases)[None],
        "linear.weight": np.ascontiguousarray(model.linear.weight.detach().numpy().T),
        "linear.bias": model.linear.bias.detach().numpy(),
        "direction_axis": np.array([1], dtype=np.int64),
    }
    swap = [1, 0, 2]
    nodes = [
        helper.make_node("Transpose", ["rows"], ["time_major"], name="to_time_major", perm=swap),
        helper.make_node(
            "LSTM",
            ["time_major", "lstm.W", "lstm.R", "lstm.B"],
            ["directions"],
            name="lstm",
            hidden_size=HIDDEN_SIZE,
        ),
        helper.make_node("Squeeze", ["directions", "direction_axis"], ["hidden"], name="squeeze"),
        helper.make_node("Transpose", ["hidden"], ["features"], name="to_batch_major", perm=swap),
        helper.make_node("MatMul", ["features", "linear.weight"], ["scores"], name="matmul"),
        helper.make_node("Add", ["scores", "linear.bias"], ["logits"], name="add"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", "time", PIXELS])],
        [
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["batch", "time", CLASSES]
            )
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    proto = helper.make_model(
        graph,
        producer_name="rnnengine examples/digits",
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    proto.ir_version = 8
    onnx.checker.check_model(proto, full_check=True)
    return proto


def describe(path: Path) -> dict[str, Any]:
    """Size and checksum of a written file."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write(model: RowReader, data: Digits, folder: Path) -> dict[str, Any]:
    """Write checkpoint, ONNX model, expected outputs and the card; return the card."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "digits.pt")
    (folder / "digits.onnx").write_bytes(build_onnx(model).SerializeToString(deterministic=True))
    expected = probabilities(model, data.test_rows)
    np.savez_compressed(
        folder / "expected.npz",
        rows=data.test_rows,
        labels=data.test_labels.astype(np.int8),
        probabilities=expected[:EXPECTED_IMAGES],
    )
    right = expected.argmax(axis=-1) == data.test_labels[:, None]
    fitted = probabilities(model, data.train_rows)[:, -1].argmax(axis=-1) == data.train_labels
    card = {
        "model": "LSTM 8 -> 64 read row by row, Linear 64 -> 10, softmax after every row",
        "data": "scikit-learn load_digits (UCI optical recognition of handwritten digits)",
        "split": f"stratified, 20 % held out, random_state {SEED}",
        "train_images": len(data.train_labels),
        "test_images": len(data.test_labels),
        "train_accuracy": round(float(fitted.mean()), 6),
        "test_accuracy": round(float(right[:, -1].mean()), 6),
        "test_accuracy_after_row": [round(float(value), 4) for value in right.mean(axis=0)],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "expected": f"first {EXPECTED_IMAGES} held-out images, torch in float64",
        "seed": SEED,
        "epochs": EPOCHS,
        "opset": OPSET,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnx": onnx.__version__,
            "scikit-learn": sklearn.__version__,
            "torch": torch.__version__,
        },
        "files": {
            name: describe(folder / name) for name in ("digits.onnx", "digits.pt", "expected.npz")
        },
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def main() -> None:
    """Train and write the files into ``--out`` (default: beside this script)."""
    parser = argparse.ArgumentParser(description="train the digit reader of the demonstration")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into")
    arguments = parser.parse_args()
    data = load_data()
    card = write(train(data), data, arguments.out)
    print(f"held-out accuracy {card['test_accuracy']:.4f} on {card['test_images']} images")
    print(f"after each row    {card['test_accuracy_after_row']}")


if __name__ == "__main__":
    main()
