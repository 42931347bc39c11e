"""Slots of the arena: temporaries whose lives do not overlap share memory."""

from __future__ import annotations

from collections.abc import Sequence

from rnnengine.graph import Size
from rnnengine.program.builder import Instruction
from rnnengine.program.view import ARENA, Buffer

__all__ = ["assign_slots"]


def assign_slots(instructions: Sequence[Instruction]) -> dict[Buffer, int]:
    """Give every arena buffer a slot.

    A buffer lives from the first to the last instruction that touches it. Buffers are taken in
    order of birth; each goes to a free slot, one of its own size if there is one, else to a new
    slot. A slot is as large as its largest tenant, which is known when sizes are bound.
    """
    lives: dict[Buffer, list[int]] = {}
    for i, step in enumerate(instructions):
        for view in step.operands:
            if view is not None and view.buffer.kind == ARENA:
                lives.setdefault(view.buffer, [i, i])[1] = i
    slots: dict[Buffer, int] = {}
    busy_until: list[int] = []
    size_of: list[Size] = []
    for buffer, (born, dies) in sorted(lives.items(), key=lambda item: item[1][0]):
        free = [s for s, until in enumerate(busy_until) if until < born]
        same = [s for s in free if size_of[s] == buffer.size]
        if same or free:
            slot = (same or free)[0]
        else:
            slot = len(busy_until)
            busy_until.append(dies)
            size_of.append(buffer.size)
        busy_until[slot] = dies
        slots[buffer] = slot
    return slots
