"""validate: the engine against float64, and against a framework that knows nothing of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from rnnengine.errors import FrameworkError, RNNEngineError, ShapeError
from rnnengine.layers import Architecture, Replacement
from rnnengine.model import Model
from rnnengine.validation import decoys
from rnnengine.validation.frameworks import Answer, Reply, ask
from rnnengine.validation.jobs import choose, job_for
from rnnengine.validation.measures import (
    AMPLIFIED,
    COARSER,
    WITNESS,
    contract,
    measure,
    sensitivity,
    witness_contract,
)
from rnnengine.validation.report import Cause, OutputResult, SampleResult, Validation
from rnnengine.validation.samples import Sample, generated, given
from rnnengine.validation.subject import Subject

__all__ = ["same_bits", "validate"]

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Progress = Callable[[str, int, int], None]

TIMEOUT = 600.0


def validate(
    model: Model | str | os.PathLike[str] | bytes | BinaryIO,
    against: str | None = None,
    *,
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    expected: Mapping[str, Any] | None = None,
    source: str | os.PathLike[str] | bytes | None = None,
    constants: Mapping[str, Any] | None = None,
    external_data: str | os.PathLike[str] | None = None,
    architecture: Architecture | None = None,
    layer: str | None = None,
    prefix: str = "",
    replacements: Mapping[str, Replacement] | None = None,
    key: str | None = None,
    batch: str | None = None,
    time: str | None = None,
    python: str | os.PathLike[str] | None = None,
    timeout: float = TIMEOUT,
    seed: int = 0,
    progress: Progress | None = None,
) -> Validation:
    """Run a model on usual and extreme inputs and compare it with float64 and with a framework.

    Parameters
    ----------
    model : Model, path, bytes or binary file
    against : str, optional
        ``'torch'``, ``'keras'``, ``'tf_keras'`` or ``'onnxruntime'``; default the one that wrote
        the file, if it is installed, and otherwise float64 alone. onnxruntime runs an ONNX file
        itself, and the export of any other model.
    inputs : mapping of str to array, or sequence of such mappings
        Inputs of the caller's, besides the generated ones.
    expected : mapping of str to array, optional
        Outputs for ``inputs`` that are known to be right; no framework is asked then, and only
        these inputs are used.
    source : path or bytes, optional
        The file that a ``Model`` was made from; its weights help to name the cause of a mismatch.
    constants, external_data, architecture, layer, prefix, replacements, key, batch, time
        As for :func:`rnnengine.load`, where ``model`` is a file.
    python : path, optional
        Interpreter that has the framework, if not the one that runs.
    timeout : float
        Seconds that the framework may take.
    seed : int
        Of the generated inputs.
    progress : callable(what, done, total), optional
        Told of every run.

    Returns
    -------
    Validation
        ``passed``; ``cause``, a known mistake that explains a mismatch; and every number.

    Raises
    ------
    FrameworkError
        The framework asked for is not installed, does not take the model, crashed or took too long.
    ShapeError
        ``inputs`` or ``expected`` are not what the model has.
    RNNEngineError
        As for :func:`rnnengine.load`.

    Notes
    -----
    The engine is held to ``2e-6 * max(1, max|y|)`` of the float64 evaluation of the graph as
    imported, ``1e-5`` for more than 50 steps; where the model amplifies rounding itself, to 32
    times what half an ulp on every operand does to the float64 answer. A reference that computes in
    float64 is held to the same, one in float32 to ten times that.

    The framework runs in a child process on a copy of the file, after the importer has accepted
    it: that refuses layers with code in them, and a Keras file in which the caller replaced some is
    not opened by Keras. Keras loads in safe mode, and torch with
    ``weights_only=True``; nothing is unpickled otherwise.
    """
    options = {
        "constants": constants, "external_data": external_data, "architecture": architecture,
        "layer": layer, "prefix": prefix or None, "replacements": replacements, "key": key,
        "batch": batch, "time": time,
    }  # fmt: skip
    subject = Subject(model, source, {k: v for k, v in options.items() if v is not None})
    samples = _samples(subject, inputs, expected, seed)
    notes: list[str] = []
    reply: Reply | None
    if expected is not None:
        reply = _expected(subject, expected, samples)
    else:
        reply = _asked(subject, against, samples, python, timeout, notes)
    runs = _Runs(subject, samples, reply)
    results = []
    for i, sample in enumerate(samples):
        if progress is not None:
            progress(f"run {sample.name}", i, len(samples))
        results.append(runs.result(i))
    causes: tuple[Cause, ...] = ()
    tried = 0
    if any(not o.agrees for r in results for o in r.outputs) or any(r.refused for r in results):
        causes, tried = decoys.explain(subject, runs.disagreements(results), progress)
    return Validation(
        subject.name,
        "" if reply is None else reply.version,
        tuple(results),
        causes,
        tried,
        (*notes, *(() if reply is None else reply.notes)),
    )


def same_bits(first: Model, second: Model) -> bool:
    """Whether two models give the same bits for the generated inputs, or refuse them alike."""
    graph = first.graph.with_(inputs=first.declared_inputs)
    return all(_bits(first, sample) == _bits(second, sample) for sample in generated(graph))


def _bits(model: Model, sample: Sample) -> tuple[object, ...]:
    try:
        found = model.run(dict(sample.feeds))
    except RNNEngineError as error:
        return (type(error),)
    arrays = found if isinstance(found, dict) else {model.outputs[0].name: found}
    return tuple((name, a.shape, a.tobytes()) for name, a in arrays.items())


def _samples(
    subject: Subject,
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    expected: Mapping[str, Any] | None,
    seed: int,
) -> list[Sample]:
    graph = subject.model.graph.with_(inputs=subject.inputs)
    listed = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    if expected is not None and len(listed) != 1:
        raise ShapeError(f"expected is for one set of inputs; got {len(listed)}")
    own = [given(graph, item, f"sample {i + 1}") for i, item in enumerate(listed)]
    return own if expected is not None else [*generated(graph, seed=seed), *own]


def _expected(subject: Subject, expected: Mapping[str, Any], samples: Sequence[Sample]) -> Reply:
    """The caller's outputs as the reference."""
    names = [info.name for info in subject.model.outputs]
    if not expected or not set(expected) <= set(names):
        raise ShapeError(
            f"expected has {', '.join(expected) or 'nothing'}; the model's outputs are "
            f"{', '.join(names)}"
        )
    arrays = {name: np.asarray(value) for name, value in expected.items()}
    exact = all(v.dtype == np.float64 for v in arrays.values())
    answer = Answer(arrays, arrays if exact else None)
    return Reply("expected outputs", tuple(answer for _ in samples))


def _asked(
    subject: Subject,
    against: str | None,
    samples: Sequence[Sample],
    python: Any,
    timeout: float,
    notes: list[str],
) -> Reply | None:
    """What a framework answers; None where none is installed and none was asked for."""
    framework = against if against is not None else choose(subject, python)
    if framework is None:
        notes.append("no reference framework for this file is installed: float64 alone")
        return None
    try:
        reply = ask(job_for(subject, framework, samples), python=python, timeout=timeout)
        failed = [a.error for a in reply.answers if a.outputs is None]
        if failed and len(failed) == len(reply.answers):
            raise FrameworkError(f"{framework} has no answer: {failed[0]}")
    except FrameworkError as error:
        if against is not None:
            raise
        notes.append(f"float64 alone: {error}")
        return None
    return reply


class _Runs:
    """Runs of the engine and of float64, and what the reference says of the same inputs."""

    def __init__(self, subject: Subject, samples: Sequence[Sample], reply: Reply | None) -> None:
        self._subject = subject
        self._samples = samples
        self._answers = reply.answers if reply is not None else [None] * len(samples)
        self._exact: list[dict[str, Array] | None] = [None] * len(samples)
        self._amplified: dict[int, dict[str, float]] = {}
        chosen = {choice.compute_type for choice in subject.model.choices}
        self._types = frozenset(chosen - {"float32"})
        self._theirs = self._types | ({"int8"} if subject.rounds_activations else set())

    def result(self, i: int) -> SampleResult:
        """Compare the outputs of one sample."""
        sample, answer = self._samples[i], self._answers[i]
        shapes = {name: value.shape for name, value in sample.feeds.items()}
        try:
            exact = self._exact[i] = self._subject.exact(sample.feeds)
        except RNNEngineError as error:
            return self._refused(sample, shapes, answer, error)
        try:
            got = self._subject.run(sample.feeds)
        except RNNEngineError as error:
            return SampleResult(sample.name, shapes, refused=str(error))
        axes = self._subject.time_axes(sample.feeds, sample.steps)
        outputs = tuple(
            self._output(i, name, got[name], exact[name], axes.get(name)) for name in exact
        )
        skipped = answer.error if answer is not None else ""
        return SampleResult(sample.name, shapes, outputs, skipped=skipped)

    @staticmethod
    def _refused(
        sample: Sample, shapes: dict[str, Any], answer: Answer | None, error: RNNEngineError
    ) -> SampleResult:
        """Sizes that the model does not take: a fault only where the reference takes them."""
        if answer is not None and answer.outputs is not None:
            return SampleResult(sample.name, shapes, refused=str(error))
        return SampleResult(sample.name, shapes, skipped=f"the model does not take it: {error}")

    def _output(
        self, i: int, name: str, got: Array, exact: Array, axis: int | None
    ) -> OutputResult:
        answer = self._answers[i]
        steps, types = self._samples[i].steps, self._types
        allowed = contract(exact, steps, types)
        engine = measure(got, exact, allowed, axis)
        if not engine.passed:
            engine = measure(got, exact, max(allowed, self._due(i, name, types)), axis)
        if answer is None or answer.outputs is None or name not in answer.outputs:
            return OutputResult(name, engine)
        loose = witness_contract(exact, steps, self._theirs)
        reference = measure(answer.outputs[name], exact, loose, axis)
        if not reference.passed:
            eight_bits = {"int8_fast"} if "int8" in self._theirs else self._theirs
            due = max(loose, WITNESS * self._due(i, name, eight_bits))
            reference = measure(answer.outputs[name], exact, due, axis)
        sharp = None
        if answer.exact is not None:
            sharp = measure(answer.exact[name], exact, loose if types else allowed, axis)
        return OutputResult(name, engine, reference, sharp)

    def _due(self, i: int, name: str, types: Collection[str]) -> float:
        """What the model's own amplification of rounding excuses."""
        exact = self._exact[i]
        assert exact is not None
        if i not in self._amplified:
            feeds = self._samples[i].feeds
            self._amplified[i] = sensitivity(self._subject.imported(feeds), feeds, exact)
        coarser = max((COARSER.get(t, 1.0) for t in types), default=1.0)
        return AMPLIFIED * coarser * self._amplified[i][name]

    def disagreements(self, results: Sequence[SampleResult]) -> list[decoys.Question]:
        """What the reference says of each sample, with what a graph that agrees must meet."""
        found = []
        for i, result in enumerate(results):
            answer = self._answers[i]
            if answer is None or answer.outputs is None:
                continue
            held = {o.name: o.sharpest.allowed for o in result.outputs if o.sharpest is not None}
            wanted = dict(answer.exact or answer.outputs)
            if result.refused:
                steps = self._samples[i].steps
                held = {k: witness_contract(v, steps, self._theirs) for k, v in wanted.items()}
            agrees = not result.refused and all(o.agrees for o in result.outputs)
            found.append(decoys.Question(self._samples[i].feeds, wanted, held, agrees))
        return found
