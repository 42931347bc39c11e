"""Try every known mistake, and name those that the reference's outputs agree with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rnnengine.errors import RNNEngineError
from rnnengine.graph import Graph, TensorType, Value
from rnnengine.ops import evaluate
from rnnengine.validation.decoys import cells, directions, quantised, stacks, state
from rnnengine.validation.decoys.checkpoint import modules_of
from rnnengine.validation.decoys.fitting import FITS, MOST, Fit, solve
from rnnengine.validation.decoys.record import Decoy, Variant
from rnnengine.validation.measures import measure
from rnnengine.validation.report import Cause
from rnnengine.validation.subject import Subject

__all__ = ["DECOYS", "Question", "explain"]

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

DECOYS: tuple[Decoy, ...] = (
    *cells.DECOYS, *directions.DECOYS, *state.DECOYS, *stacks.DECOYS, *quantised.DECOYS,
)  # fmt: skip
"""Every known mistake, the likelier and simpler ones first."""

_NEAR = 10.0
_MANY = 32
"""Nodes up to which a mistake is also looked for at each one alone."""

_TRIED_FIRST = 4


@dataclass(frozen=True)
class Question:
    """What the reference answers to some inputs.

    Attributes
    ----------
    feeds, wanted : mapping of str to array
        Inputs and outputs.
    held : mapping of str to float
        How near an explanation must come.
    agrees : bool
        Whether the model agrees as it is.
    """

    feeds: Arrays
    wanted: Arrays
    held: Mapping[str, float]
    agrees: bool


def explain(
    subject: Subject,
    questions: Sequence[Question],
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[tuple[Cause, ...], int]:
    """Return the known mistakes that explain a mismatch, and how many were tried."""
    search = _Search(subject, questions)
    if not search.open:
        return (), 0
    found: list[Cause] = []
    for i, decoy in enumerate(DECOYS):
        if progress is not None:
            progress(f"decoy {decoy.name}", i, len(DECOYS))
        found += search.decoy(decoy)
    if not found:
        for fit in FITS:
            found += search.fit(fit)
    return tuple(found), search.tried


class _Search:
    """The questions, and the graphs that could answer them."""

    def __init__(self, subject: Subject, questions: Sequence[Question]) -> None:
        self.tried = 0
        self._modules = modules_of(subject.checkpoint)
        self._graphs: list[Graph] = []
        self._freed: list[bool] = []
        self._questions: list[Question] = []
        for question in questions:
            try:
                graph, freed = subject.settled(question.feeds), False
            except RNNEngineError:
                graph, freed = _with_shapes(subject, question.feeds), True
            self._questions.append(question)
            self._graphs.append(graph)
            self._freed.append(freed)
        order = sorted(range(len(self._questions)), key=self._cost)
        self.open = [i for i in order if not self._questions[i].agrees]
        self._order = [*self.open, *(i for i in order if self._questions[i].agrees)]
        self._off = [self._ratio(i, self._graphs[i]) for i in range(len(self._graphs))]

    def _cost(self, i: int) -> int:
        return sum(v.size for v in self._questions[i].feeds.values())

    def _ratio(self, i: int, graph: Graph) -> float:
        """Largest difference from the reference over what it is held to."""
        question = self._questions[i]
        try:
            answer = evaluate(graph, question.feeds)
        except (RNNEngineError, ValueError, IndexError, KeyError):
            return np.inf
        worst = 0.0
        for name, held in question.held.items():
            errors = measure(answer[name], question.wanted[name], held, None)
            worst = max(worst, errors.max_abs / held if held else float(errors.max_abs > 0) * 1e9)
        return worst

    def _explains(self, make: Callable[[int], Graph | None]) -> float | None:
        """Worst ratio of a change over all questions; None as soon as one disagrees."""
        self.tried += 1
        worst = 0.0
        for i in self._order:
            try:
                graph = make(i)
            except (RNNEngineError, ValueError, IndexError):
                return None
            if graph is None:
                return None
            ratio = self._ratio(i, graph)
            clearly = ratio <= min(_NEAR, self._off[i] / 100)
            if not (ratio <= 1 or clearly):
                return None
            worst = max(worst, ratio)
        return worst

    def decoy(self, decoy: Decoy) -> Iterator[Cause]:
        """Every form of a mistake, at all nodes it could stand at and at each of them alone."""
        for variant in decoy.variants:
            if any(self._freed) and not variant.frees:
                continue
            names = self._places(variant)
            scopes = [names] if names else []
            if 1 < len(names) <= _MANY:
                scopes += [(name,) for name in names]
            for scope in scopes:
                ratio = self._explains(partial(self._changed, variant, scope))
                if ratio is not None:
                    yield Cause(decoy.name, variant.detail, scope, ratio)
                    break

    def _places(self, variant: Variant) -> tuple[str, ...]:
        """Names of the nodes at which a mistake could stand."""
        graph = self._graphs[self._order[0]]
        found = []
        for node in graph.nodes:
            try:
                if variant.change(graph, node, self._modules) is not None:
                    found.append(node.name)
            except (RNNEngineError, ValueError, IndexError):
                continue
        return tuple(found)

    def _changed(self, variant: Variant, names: Sequence[str], i: int) -> Graph | None:
        graph = self._graphs[i]
        for name in names:
            node = next((n for n in graph.nodes if n.name == name), None)
            changed = None if node is None else variant.change(graph, node, self._modules)
            if changed is None:
                return None
            graph = changed
        return graph

    def fit(self, fit: Fit) -> Iterator[Cause]:
        """A mistake with unknown numbers, at each node it could stand at."""
        if any(self._freed):
            return
        for node in self._graphs[self._order[0]].nodes:
            count = fit.unknowns(self._graphs[self._order[0]], node)
            if not 0 < count <= MOST:
                continue
            values = solve(partial(self._residual, fit, node.name), count)
            if values is None:
                continue
            ratio = self._explains(partial(self._fitted, fit, node.name, values))
            if ratio is not None:
                names = {decoy.key: decoy.name for decoy in DECOYS}
                yield Cause(names[fit.key], fit.detail, (node.name,), ratio)

    def _fitted(self, fit: Fit, name: str, values: Array, i: int) -> Graph:
        graph = self._graphs[i]
        return fit.change(graph, next(n for n in graph.nodes if n.name == name), values)

    def _residual(self, fit: Fit, name: str, values: Array) -> Array | None:
        """Differences from the reference on the cheapest questions that the model fails."""
        parts = []
        for i in self.open[:_TRIED_FIRST]:
            question = self._questions[i]
            try:
                answer = evaluate(self._fitted(fit, name, values, i), question.feeds)
            except RNNEngineError:
                return None
            parts += [(answer[k] - question.wanted[k]).ravel() for k in question.held]
        together = np.concatenate(parts)
        return together if np.all(np.isfinite(together)) else None


def _with_shapes(subject: Subject, feeds: Arrays) -> Graph:
    """The graph as imported with the shapes of the inputs at hand in the place of its own."""
    ones: Mapping[str, int] = {}
    graph = subject.model.imported_graph(ones)
    inputs = tuple(
        Value(v.name, TensorType(v.type.dtype, tuple(np.shape(feeds[v.name]))))
        for v in graph.inputs
    )
    return graph.with_(inputs=inputs)
