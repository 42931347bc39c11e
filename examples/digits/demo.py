"""From a PyTorch checkpoint to a running model: convert, validate, run whole and as a stream.

Run ``make demo`` in the repository, or this file where rnnengine[onnx] is installed. PyTorch is not
needed. The exit code is 1 when anything is off.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import rnnengine as rn
from rnnengine.importers import load_graph
from rnnengine.ops.oracle import evaluate

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parents[1] / "tools"
TOLERANCE = 2e-6
SHADES = " .:-=+*#@"
SHOWN = 1

Array = npt.NDArray[Any]


class Checks:
    """Collects what was checked; prints one line each."""

    def __init__(self) -> None:
        self.failed = 0

    def expect(self, passed: bool, what: str) -> None:
        """Record and print one check."""
        self.failed += not passed
        print(f"  [{'ok' if passed else 'FAILED'}] {what}")


def draw(image: Array) -> list[str]:
    """Render an image [8, 8] in 0..1 as text, two characters a pixel."""
    levels = np.rint(image * (len(SHADES) - 1)).astype(int)
    return ["".join(SHADES[level] * 2 for level in row) for row in levels]


def stream_steps(model: rn.Model, rows: Array) -> Array:
    """Feed rows [B, T, 8] one at a time; the outputs, joined to [B, T, 10]."""
    stream = model.stream(batch=rows.shape[0])
    return np.stack([stream.step(rows[:, t]) for t in range(rows.shape[1])], axis=1)


def show_reading(rows: Array, got: Array, expected: Array) -> None:
    """Print one image beside what the network thinks after each of its rows."""
    print("\none image, row by row: the digit it leans to, its probability, the expected one")
    for t, line in enumerate(draw(rows)):
        digit = int(got[t].argmax())
        print(f"  |{line}|  row {t + 1}: {digit}   {got[t, digit]:.7f}   {expected[t, digit]:.7f}")


def show_table(got: Array, expected: Array, labels: Array, count: int = 10) -> None:
    """Print expected against got, after the last row, for the first images."""
    print("\nafter the last row   label    expected (torch f64)    got                |diff|")
    for n in range(count):
        want, have = int(expected[n].argmax()), int(got[n].argmax())
        difference = np.abs(got[n] - expected[n]).max()
        print(
            f"  image {n:3d}              {labels[n]:2d}      {want}  {expected[n, want]:.9f}"
            f"         {have}  {got[n, have]:.9f}     {difference:.1e}"
        )


def microseconds(call: Callable[[], object], repeats: int) -> Array:
    """Time single calls after a warm-up, each on its own."""
    for _ in range(repeats // 10):
        call()
    times = np.empty(repeats)
    for n in range(repeats):
        start = time.perf_counter_ns()
        call()
        times[n] = time.perf_counter_ns() - start
    return times / 1000


def show_latency(model: rn.Model, rows: Array) -> None:
    """Print the median and p99 of a step, of a whole image and of a batch."""
    stream = model.stream(batch=1)
    row, image = rows[:1, 0].copy(), rows[:1].copy()
    step_out, image_out = stream.step(row), model.run(image)
    batch_out = model.run(rows)
    cases: list[tuple[str, Callable[[], object], int]] = [
        ("one row, stream.step", lambda: stream.step(row, out=step_out), 20_000),
        ("one image, model.run", lambda: model.run(image, out=image_out), 10_000),
        (f"{len(rows)} images, model.run", lambda: model.run(rows, out=batch_out), 200),
    ]
    print("\nlatency, one thread      median        p99")
    for name, call, repeats in cases:
        times = microseconds(call, repeats)
        print(f"  {name:20s} {np.median(times):9.2f} us {np.percentile(times, 99):9.2f} us")


def converted(folder: Path) -> Path:
    """Convert the checkpoint with the tools script, validated on the way; the new file."""
    target = folder / "digits.rnne"
    words = ["digits.pt", "-o", str(target), "--architecture", "network.py", "--validate"]
    text = " ".join([*words[:2], target.name, *words[3:]])
    print(f"$ python tools/convert.py {text}", flush=True)
    command = [sys.executable, str(TOOLS / "convert.py"), *words]
    subprocess.run(command, cwd=HERE, check=True)
    return target


def check_expected(checks: Checks, path: Path, data: dict[str, Array]) -> None:
    """Hold the converted model against outputs that torch computed when the model was trained."""
    expected = data["probabilities"]
    found = rn.validate(
        path, inputs={"input": data["rows"][: len(expected)]}, expected={"output": expected}
    )
    print(f"\n{found}")
    checks.expect(found.passed, f"the outputs of torch in float64: {found.worst_reference:.2e} off")
    said = rn.inspect(path).validation
    checks.expect(said.get("passed") == "yes", f"verdict in the file: {said}")


def check_values(checks: Checks, model: rn.Model, data: dict[str, Array], card: Any) -> Array:
    """Compare a whole run with torch, the oracle, the labels and the card."""
    rows, expected, labels = data["rows"], data["probabilities"], data["labels"]
    got: Array = model.run(rows)
    oracle = evaluate(load_graph(HERE / "digits.onnx"), {"rows": rows})["probabilities"]
    exported = rn.load(HERE / "digits.onnx").run(rows)
    from_torch = float(np.abs(got[: len(expected)] - expected).max())
    from_oracle = float(np.abs(got - oracle).max())
    digits = got[:, -1].argmax(axis=-1)
    accuracy = float((digits == labels).mean())
    checks.expect(
        from_torch <= TOLERANCE, f"max abs error against torch in float64: {from_torch:.2e}"
    )
    checks.expect(
        from_oracle <= TOLERANCE, f"max abs error against the float64 oracle: {from_oracle:.2e}"
    )
    checks.expect(got.tobytes() == exported.tobytes(), "the ONNX file: the same bits")
    same = np.array_equal(digits[: len(expected)], expected[:, -1].argmax(axis=-1))
    checks.expect(same, f"the same digit as torch for all {len(expected)} expected images")
    checks.expect(
        abs(accuracy - card["test_accuracy"]) < 1e-6,
        f"accuracy {accuracy:.4f} on {len(labels)} held-out images, as trained",
    )
    return got


def main() -> int:
    """Run the demonstration; return the exit code."""
    card = json.loads((HERE / "card.json").read_text(encoding="utf-8"))
    with np.load(HERE / "expected.npz") as archive:
        data = {name: archive[name] for name in archive.files}
    cpu = rn.cpu_info()
    print(f"digits.pt: {card['model']}\n")
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        path = converted(Path(folder))
        model = rn.load(path, verify=True)
        check_expected(checks, path, data)
    print(f"\n{model!r}")
    print(f"instruction set in use: {cpu['isa']} (available: {', '.join(cpu['available'])})\n")
    for name in ("digits.pt", "digits.onnx"):
        checksum = hashlib.sha256((HERE / name).read_bytes()).hexdigest()
        checks.expect(checksum == card["files"][name]["sha256"], f"{name} as on the card")
    got = check_values(checks, model, data, card)
    streamed = stream_steps(model, data["rows"])
    checks.expect(got.tobytes() == streamed.tobytes(), "stream and whole run: the same bits")
    alone = np.concatenate([model.run(data["rows"][n : n + 1]) for n in range(len(got))])
    checks.expect(got.tobytes() == alone.tobytes(), "alone and in the batch: the same bits")
    expected = data["probabilities"]
    show_reading(data["rows"][SHOWN], got[SHOWN], expected[SHOWN])
    show_table(got[:, -1], expected[:, -1], data["labels"])
    show_latency(model, data["rows"])
    print(f"\n{'all checks passed' if not checks.failed else f'{checks.failed} checks FAILED'}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
