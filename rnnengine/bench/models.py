"""Whole models against onnxruntime: agreement first, then interleaved timing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine.bench import record
from rnnengine.bench.cases import ModelCase
from rnnengine.bench.peers import MODEL_ENGINES
from rnnengine.bench.rounds import Timing, interleaved
from rnnengine.bench.work import work_of
from rnnengine.bench.worker import Worker
from rnnengine.exporting import onnx_content

__all__ = [
    "TOLERANCE",
    "ModelResult",
    "markdown",
    "model_case",
    "run_model_cases",
    "usual_models",
]

TOLERANCE = 1e-4
"""Largest difference between the outputs, of max(1, the largest magnitude), at which a comparison
of times has a meaning: whole networks in float32, each summing in its own order."""

ZOO = {
    "dtln model_1": "dtln/model_1.onnx",
    "dtln-pytorch model_p1": "dtln-pytorch/model_p1.onnx",
    "gtcrn frame": "gtcrn/gtcrn_simple.onnx",
}
"""Published models, by their files in the folder of models."""
LETTERS = 12
"""Letters of a word for the encoder of g2p_en."""
DIGIT_STEPS = 8


@dataclass(frozen=True)
class ModelResult:
    """Everything measured for one model; ``rounds`` is how often.

    ``bandwidth`` is that of one core over a working set of the weights, in bytes a second;
    ``fma_peak`` its floating-point operations a second.
    """

    case: ModelCase
    timings: dict[str, Timing]
    difference: float
    bandwidth: float
    fma_peak: float
    rounds: int

    @property
    def own(self) -> Timing:
        """What rnnengine took."""
        return self.timings["rnnengine"]

    @property
    def peer(self) -> Timing:
        """What onnxruntime took, called in its fastest way."""
        return self.timings["onnxruntime"]

    @property
    def ratio(self) -> float:
        """How many times as long onnxruntime takes as rnnengine."""
        return self.peer.median_us / self.own.median_us

    @property
    def arithmetic_share(self) -> float:
        """Time of the multiply-adds at the peak, over rnnengine's time."""
        return 2e6 * self.case.work.multiply_adds / self.fma_peak / self.own.median_us

    @property
    def bandwidth_share(self) -> float:
        """Time of reading the weights at the bandwidth of their memory, over rnnengine's time."""
        return 1e6 * self.case.work.weight_bytes / self.bandwidth / self.own.median_us


def model_case(
    name: str,
    content: bytes,
    constants: Mapping[str, Any] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
) -> ModelCase:
    """Describe one call of an ONNX file.

    Parameters
    ----------
    name : str
    content : bytes
    constants : mapping of str to array, optional
        Inputs to fix at load.
    inputs : mapping of str to array, optional
        What the call is given; for inputs left out, magnitudes of numbers from N(0, 1), with 1 for
        every free size.
    """
    constants = {n: np.asarray(v) for n, v in (constants or {}).items()}
    model = rn.load(content, constants=constants)
    types = {info.name for info in model.inputs}
    found = model._form.graph.states
    states = [(s.input, s.output, s.start) for s in found if s.input in types]
    if len(states) < len(found):
        states = []  # the file does not show all of its state: a call starts afresh
    given = dict(inputs or {})
    rng = np.random.default_rng(0)
    for info in model.inputs:
        if info.name not in given:
            shape = [size if isinstance(size, int) else 1 for size in info.shape]
            given[info.name] = np.abs(rng.standard_normal(shape)).astype(info.dtype)
    sizes = {
        size: length
        for info in model.inputs
        for size, length in zip(info.shape, given[info.name].shape, strict=True)
        if isinstance(size, str)
    }
    results = model.run(given)
    if not isinstance(results, dict):
        results = {model.outputs[0].name: results}
    shapes = {n: y.shape for n, y in results.items()}
    shapes |= {n: given[n].shape for n, _, _ in states}
    for n, _, _ in states:
        del given[n]
    return ModelCase(name, content, constants, given, states, shapes, work_of(model.graph, sizes))


def usual_models(zoo: Path | None, root: Path | None) -> Iterator[ModelCase]:
    """Published models, the project's example, and, with torch, the voice-activity detector.

    Parameters
    ----------
    zoo : Path, optional
        Folder of the published models; what is absent is left out.
    root : Path, optional
        The source tree.
    """
    for name, path in ZOO.items():
        if zoo is not None and (zoo / path).exists():
            yield model_case(name, (zoo / path).read_bytes())
    if find_spec("torch"):
        yield model_case("voice activity", _voice(), {"sr": 16000})
    if zoo is not None and (zoo / "g2p_en/checkpoint20.npz").exists():
        yield from _letters_to_phonemes(zoo / "g2p_en/checkpoint20.npz")
    digits = root / "examples/digits/digits.onnx" if root else None
    if digits is not None and digits.exists():
        rows = np.random.default_rng(0).random((1, DIGIT_STEPS, 8), dtype=np.float32)
        yield model_case("digits, one image", digits.read_bytes(), inputs={"rows": rows})


def _voice() -> bytes:
    from rnnengine.bench.voice import vad_bytes

    return vad_bytes()


def _letters_to_phonemes(path: Path) -> Iterator[ModelCase]:
    """The encoder over a word and one step of the decoder with its output layer."""
    arrays = dict(np.load(path))

    def part(prefix: str, count: int, *more: Any) -> bytes:
        ends = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
        names = {f"{ours}_l0": f"{prefix}_{theirs}" for ours, theirs in ends.items()}
        net = rn.Sequential(
            rn.Embedding(count, 256, weights={"weight": f"{prefix}_emb"}),
            rn.GRU(256, 256, batch_first=True, weights=names),
            *more,
        )
        taken = (f"{prefix}_", "fc_") if more else (f"{prefix}_",)
        file = io.BytesIO()
        np.savez(file, **{n: a for n, a in arrays.items() if n.startswith(taken)})
        return onnx_content(rn.load(file.getvalue(), architecture=net).graph)

    output = rn.Linear(256, 74, weights={"weight": "fc_w", "bias": "fc_b"})
    for name, content, steps in (
        ("g2p encoder, a word", part("enc", 29), LETTERS),
        ("g2p decoder, a step", part("dec", 74, output), 1),
    ):
        (info,) = rn.load(content).inputs
        word = np.arange(steps, dtype=info.dtype).reshape(1, steps) + 3
        yield model_case(name, content, inputs={info.name: word})


def run_model_cases(
    cases: Iterable[ModelCase],
    rounds: int,
    seconds: float,
    progress: Callable[[ModelResult], None],
) -> tuple[list[ModelResult], dict[str, object]]:
    """Measure all cases on one thread; see :func:`rnnengine.bench.layer.run_layer_cases`.

    Raises
    ------
    RuntimeError
        An engine failed, or they disagree by more than ``TOLERANCE``.
    """
    results = []
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name)) for name in MODEL_ENGINES}
        machine = stack.enter_context(Worker("roof"))
        cpu = workers["rnnengine"].about()
        for case in cases:
            result = _measure(case, rounds, seconds, workers, machine)
            progress(result)
            results.append(result)
    return results, cpu


def _measure(
    case: ModelCase, rounds: int, seconds: float, workers: Mapping[str, Worker], machine: Worker
) -> ModelResult:
    prepared = {name: worker.prepare(case) for name, worker in workers.items()}
    outputs: Sequence[Any] = [output for output, _ in prepared.values()]
    scale = max(1.0, float(np.abs(outputs[0]).max()))
    difference = max(float(np.abs(output - outputs[0]).max()) for output in outputs) / scale
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{case.name}: outputs differ by {difference:.3g}, over {TOLERANCE:g}")
    bandwidths: list[float] = []
    peaks: list[float] = []

    def sample() -> None:
        bandwidths.append(machine.bandwidth(max(case.work.working_set, 4096)))
        peaks.append(machine.fma_peak())

    ways = {name: names for name, (_, names) in prepared.items()}
    timings, done = interleaved(workers, ways, rounds, seconds, sample)
    return ModelResult(case, timings, difference, median(bandwidths), median(peaks), done)


def markdown(found: Mapping[str, Any]) -> str:
    """A record of this benchmark as a Markdown table."""
    lines = [
        f"{record.heading(found)}; onnxruntime {found['versions']['onnxruntime']} on one thread,"
        " by io-binding or run, whichever is faster; medians of interleaved rounds.",
        "",
        "| one call of | rnnengine, us | onnxruntime, us | ratio | MMAC | weights, KB"
        " | of the FMA peak | of the read bandwidth |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["results"]:
        times, work, roof = row["timings"], row["work"], row["roof"]
        lines.append(
            f"| {row['name']} | {times['rnnengine']['median_us']:.1f}"
            f" | {times['onnxruntime']['median_us']:.1f} | {row['ratio']:.2f}"
            f" | {work['multiply_adds'] / 1e6:.3f} | {work['weight_bytes'] / 1e3:.0f}"
            f" | {roof['arithmetic_share']:.0%} | {roof['bandwidth_share']:.0%} |"
        )
    return "\n".join(lines)
