"""Put nodes after what they read."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node

__all__ = ["ordered"]


def ordered(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return nodes so that each comes after what it reads; otherwise in the order given.

    Raises
    ------
    UnsupportedModelError
        Nodes need each other in a circle.
    """
    given = list(nodes)
    makers = {name: i for i, node in enumerate(given) for name in node.outputs if name}
    needs = [{makers[n] for n in node.inputs if n in makers} for node in given]
    waiting = [len(n) for n in needs]
    readers: dict[int, list[int]] = {}
    for i, used in enumerate(needs):
        for j in used:
            readers.setdefault(j, []).append(i)
    ready = [i for i, count in enumerate(waiting) if count == 0]
    result: list[Node] = []
    while ready:
        i = heapq.heappop(ready)
        result.append(given[i])
        for j in readers.get(i, ()):
            waiting[j] -= 1
            if waiting[j] == 0:
                heapq.heappush(ready, j)
    if len(result) < len(given):
        stuck = next(n for n, count in zip(given, waiting, strict=True) if count)
        raise UnsupportedModelError(f"node {stuck.name!r} ({stuck.op}) depends on its own output")
    return tuple(result)
