"""The data caches of a core, as the system describes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cache", "caches", "core_caches"]

_SYSTEM = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Cache:
    """A data cache as the system describes it; ``cores`` share it."""

    level: int
    bytes: int
    cores: int


def caches(system: Path = _SYSTEM) -> list[Cache]:
    """The data caches of a core, smallest level first.

    Parameters
    ----------
    system : Path
        Folder with a folder ``index<n>`` for every cache, as Linux has it.
    """
    found = []
    for entry in sorted(system.glob("index*")):
        if (entry / "type").read_text("ascii").strip() == "Instruction":
            continue
        size = (entry / "size").read_text("ascii").strip()
        unit = _UNITS.get(size[-1], 1)
        shared = (entry / "shared_cpu_list").read_text("ascii").strip()
        found.append(
            Cache(
                int((entry / "level").read_text("ascii")),
                int(size.rstrip("KMG")) * unit,
                sum(1 for _ in _listed(shared)),
            )
        )
    return sorted(found, key=lambda cache: cache.level)


def _listed(text: str) -> Iterator[int]:
    """The numbers of a list such as ``0-3,8``."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def core_caches(system: Path = _SYSTEM) -> tuple[int, int]:
    """Bytes of the first and the second data cache of a core.

    32 KB and 1 MB, usual sizes, where the system does not say.
    """
    sizes = {1: 32 << 10, 2: 1 << 20}
    try:
        found = caches(system)
    except (OSError, ValueError):
        found = []
    sizes |= {cache.level: cache.bytes for cache in found if cache.bytes > 0}
    return sizes[1], sizes[2]
