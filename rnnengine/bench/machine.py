"""What the machine itself allows: read bandwidth of every cache level and of memory, FMA peak."""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import rnnengine as rn
from rnnengine._c import core, cpu
from rnnengine._c.caches import Cache, caches
from rnnengine.bench import record

__all__ = ["Cache", "add", "caches", "markdown", "measure"]

_PROBE_SECONDS, _TRY_SECONDS = 0.002, 0.02


def _working_sets(found: list[Cache], cores: int, largest: int) -> list[tuple[str, int]]:
    """A name and bytes a core for every level.

    A working set is the geometric mean of a core's share of a level and of the level below it (of
    the first level: half of it), so it surely lies in the one and not in the other. For memory it
    is twice the last level. All cores together read ``largest`` bytes at most.
    """
    sets, below = [], 0
    for cache in found:
        share = cache.bytes // min(cache.cores, cores)
        size = int((share * below) ** 0.5) if below else share // 2
        sets.append((f"L{cache.level}", size))
        below = share
    sets.append(("memory", 2 * found[-1].bytes // cores if found else largest))
    return [(name, min(size, largest // cores)) for name, size in sets]


def _rate(work: Callable[[int], Callable[[int], float]], cores: int, tries: int) -> float:
    """Work a second of several cores at once, the best of some tries.

    ``work(i)`` prepares core i and returns a function that does a number of rounds there and says
    how much that was. All start together; a try lasts until the last has ended.
    """
    # As many rounds as fill a try, from one core alone.
    alone, rounds = work(0), 1
    while (took := _seconds(alone, rounds)) < _PROBE_SECONDS:
        rounds *= 2
    rounds = max(1, int(rounds * _TRY_SECONDS / took))
    gate = threading.Barrier(cores, timeout=600)
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

    def one(index: int) -> list[tuple[float, float, float]]:
        if cores > 1 and len(usable) >= cores:
            os.sched_setaffinity(threading.get_native_id(), {usable[index]})
        run = work(index)
        run(1)
        results = []
        for _ in range(tries):
            gate.wait()
            begin = time.perf_counter()
            done = run(rounds)
            results.append((begin, time.perf_counter(), done))
        return results

    with ThreadPoolExecutor(cores) as pool:
        timed = zip(*pool.map(one, range(cores)), strict=True)
        rates = [
            sum(done for _, _, done in a_try)
            / (max(end for _, end, _ in a_try) - min(begin for begin, _, _ in a_try))
            for a_try in timed
        ]
    best: float = max(rates)
    return best


def _seconds(run: Callable[[int], float], rounds: int) -> float:
    start = time.perf_counter()
    run(rounds)
    return time.perf_counter() - start


def _reading(isa: str, size: int) -> Callable[[int], Callable[[int], float]]:
    def work(_: int) -> Callable[[int], float]:
        data = core.aligned(max(size // 4, 1024))
        data[:] = 0.0

        def run(rounds: int) -> float:
            core.read_floats(isa, data, rounds)
            return float(rounds * data.nbytes)

        return run

    return work


def measure(tries: int, most: int, largest: int = 1 << 30) -> dict[str, Any]:
    """The record of this machine's roofs.

    Parameters
    ----------
    tries : int
        The best of this many is what counts: a roof is what the machine can do at all.
    most : int
        Cores that read or multiply at the same time: 1 to this many.
    largest : int
        Bytes that all cores together read at most.

    Returns
    -------
    dict
        ``caches``; ``bandwidth``, a row for every level and number of cores, with the bytes each
        core reads over and over; ``fma``, a row for every number of cores; and
        ``threads``, what those cost (see ``pool_costs``).
    """
    isa, found = cpu.chosen(), caches()
    rows: list[dict[str, Any]] = [
        {
            "level": name,
            "cores": cores,
            "bytes_each": size,
            "gb_per_s": _rate(_reading(isa, size), cores, tries) / 1e9,
        }
        for cores in range(1, most + 1)
        for name, size in _working_sets(found, cores, largest)
    ]
    peaks = [
        {
            "cores": cores,
            "gflop_per_s": _rate(lambda _: lambda n: float(core.fma_chain(isa, n)), cores, tries)
            / 1e9,
        }
        for cores in range(1, most + 1)
    ]
    return record.header("roof", rn.cpu_info()) | {
        "tries": tries,
        "caches": [asdict(cache) for cache in found],
        "bandwidth": rows,
        "fma": peaks,
        "threads": pool_costs(tries * 20, most),
    }


def pool_costs(tries: int, most: int) -> list[dict[str, float]]:
    """What workers cost, for 2 to ``most`` threads; medians.

    ``wake_ns``: an empty job given to workers that sleep, until all have done it. ``barrier_ns``:
    one meeting of all threads, which spin. These are what the constants of
    ``src_c/core/threads.h`` stand for, a barrier there being counted for each thread.
    """
    meetings, rows = 2000, []
    for threads in range(2, most + 1):
        if core.meet(threads, 1) < threads:
            break
        meet = partial(core.meet, threads)
        wakes, barriers = [], []
        for _ in range(tries):
            time.sleep(0.001)  # workers sleep as soon as no call holds the pool
            wakes.append(_seconds(meet, 0))
            barriers.append(_seconds(meet, meetings))
        wake = median(wakes)
        rows.append(
            {
                "threads": threads,
                "wake_ns": wake * 1e9,
                "barrier_ns": (median(barriers) - wake) / meetings * 1e9,
            }
        )
    return rows


def markdown(found: Mapping[str, Any]) -> str:
    """A record of ``measure`` as Markdown tables."""
    most = max(row["cores"] for row in found["fma"])
    sizes = ", ".join(
        f"L{c['level']} {_amount(c['bytes'])}" + f" of {c['cores']} cores" * (c["cores"] > 1)
        for c in found["caches"]
    )
    lines = [f"{record.heading(found)}; {sizes}; the best of {found['tries']} tries.", ""]
    lines.append("| | " + " | ".join(_cores(n) for n in range(1, most + 1)) + " |")
    lines.append("|---|" + "---:|" * most)
    for level in dict.fromkeys(row["level"] for row in found["bandwidth"]):
        rates = [f"{r['gb_per_s']:.0f}" for r in found["bandwidth"] if r["level"] == level]
        lines.append(f"| {level}, GB/s | " + " | ".join(rates) + " |")
    peaks = [f"{r['gflop_per_s']:.0f}" for r in found["fma"]]
    lines.append("| FMA, GFLOP/s | " + " | ".join(peaks) + " |")
    for key, name in (("wake_ns", "wake and finish, ns"), ("barrier_ns", "barrier, ns")):
        costs = {row["threads"]: f"{row[key]:.0f}" for row in found["threads"]}
        lines.append(
            f"| {name} | " + " | ".join(costs.get(n, "") for n in range(1, most + 1)) + " |"
        )
    return "\n".join(lines)


def _cores(number: int) -> str:
    return "1 core" if number == 1 else f"{number} cores"


def _amount(size: int) -> str:
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} KB"


def add(actions: Any) -> None:
    """The words of the command line."""
    parser = actions.add_parser("roof", help="bandwidths, FMA peak and what threads cost")
    parser.add_argument("--rounds", type=record.positive, default=15, metavar="N")
    parser.add_argument("--cores", type=record.positive, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record to FILE")
    parser.set_defaults(action=_roof)


def _roof(options: argparse.Namespace) -> int:
    found = measure(options.rounds, options.cores)
    print(markdown(found))
    record.write(found, options.json)
    return 0
