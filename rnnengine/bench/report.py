"""Results as text, as JSON for the record, and as a Markdown table made from that JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rnnengine.bench.layer import LayerResult
from rnnengine.bench.models import ModelResult
from rnnengine.bench.record import PACKAGES, header, heading, versions

__all__ = [
    "HEADER",
    "MODELS_HEADER",
    "as_json",
    "line",
    "markdown",
    "models_as_json",
    "models_line",
    "summary",
]

HEADER = (
    f"{'layer':32s} {'rnnengine us (p99)':>22s} {'fastest peer us (way)':>34s} {'ratio':>9s}"
    f" {'GB/s':>7s} {'roof':>5s}"
)


def line(result: LayerResult) -> str:
    """One line under ``HEADER``."""
    own, name = result.own, result.fastest_peer
    peer = result.timings[name]
    others = "".join(
        f"  [{engine.removeprefix('rnnengine, ')}: {timing.median_us:.2f}]"
        for engine, timing in result.timings.items()
        if engine.startswith("rnnengine, ")
    )
    return (
        f"{result.case.name:32s} {own.median_us:11.2f} ({own.p99_us:8.2f})"
        f" {peer.median_us:11.2f} {f'({name}, {peer.way})':>22s}"
        f" {result.ratio:8.2f}x {result.gigabytes_per_second:7.1f} {result.share_of_roof:5.0%}"
        + others
    )


MODELS_HEADER = (
    f"{'one call of':24s} {'rnnengine p50 us (p99)':>22s} {'onnxruntime p50 us (p99, way)':>34s}"
    f" {'ratio':>7s} {'MMAC':>7s} {'KB':>7s} {'FMA':>5s} {'read':>5s}"
)


def models_line(result: ModelResult) -> str:
    """One line under ``MODELS_HEADER``: work, and what it would take at the roofs, as shares."""
    own, peer, work = result.own, result.peer, result.case.work
    return (
        f"{result.case.name:24s} {own.median_us:11.2f} ({own.p99_us:8.2f})"
        f" {peer.median_us:11.2f} ({peer.p99_us:8.2f}, {peer.way:10s})"
        f" {result.ratio:6.2f}x {work.multiply_adds / 1e6:7.3f} {work.weight_bytes / 1e3:7.0f}"
        f" {result.arithmetic_share:5.0%} {result.bandwidth_share:5.0%}"
    )


def summary(results: Sequence[LayerResult]) -> list[str]:
    """The smallest ratio for every number of steps."""
    lines = []
    for steps in sorted({result.case.steps for result in results}):
        least = min((r for r in results if r.case.steps == steps), key=lambda r: r.ratio)
        lines.append(f"T={steps}: smallest ratio {least.ratio:.2f}x ({least.case.name})")
    return lines


def as_json(results: Sequence[LayerResult], cpu: Mapping[str, object]) -> dict[str, Any]:
    """Everything measured, with machine, versions and date."""
    rows = [
        asdict(result.case)
        | {
            "name": result.case.name,
            "rounds": result.rounds,
            "fastest_peer": result.fastest_peer,
            "timings": {name: asdict(timing) for name, timing in result.timings.items()},
            "ratio": result.ratio,
            "max_abs_difference": result.max_abs_difference,
            "weight_gb_per_s": result.gigabytes_per_second,
            "roof": {
                "us": result.roof.seconds * 1e6,
                "bandwidth_gb_per_s": result.roof.bandwidth / 1e9,
                "fma_gflop_per_s": result.roof.fma_peak / 1e9,
                "share": result.share_of_roof,
            },
        }
        for result in results
    ]
    return header("layer", cpu) | {"results": rows}


def models_as_json(results: Sequence[ModelResult], cpu: Mapping[str, object]) -> dict[str, Any]:
    """The same of whole models."""
    rows: list[dict[str, Any]] = [
        {
            "name": result.case.name,
            "call": "step" if result.case.states else "run",
            "rounds": result.rounds,
            "timings": {name: asdict(timing) for name, timing in result.timings.items()},
            "ratio": result.ratio,
            "relative_difference": result.difference,
            "work": asdict(result.case.work),
            "roof": {
                "bandwidth_gb_per_s": result.bandwidth / 1e9,
                "fma_gflop_per_s": result.fma_peak / 1e9,
                "arithmetic_share": result.arithmetic_share,
                "bandwidth_share": result.bandwidth_share,
            },
        }
        for result in results
    ]
    return header("models", cpu) | {"results": rows}


def markdown(record: Mapping[str, Any]) -> str:
    """A table from what ``as_json`` made; other ways of rnnengine have columns of their own."""
    engines = {name for row in record["results"] for name in row["timings"]} & set(PACKAGES)
    used = versions(record, sorted(engines - {"rnnengine"}))
    rounds = sorted({row["rounds"] for row in record["results"]})
    span = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"{rounds[0]}"
    names = dict.fromkeys(name for row in record["results"] for name in row["timings"])
    own = [name for name in names if name.startswith("rnnengine, ")]
    also = "".join(f" {name}, us |" for name in own)
    lines = [
        f"{heading(record)}; the fastest of {used},"
        " each called in its fastest way, with its state carried at T=1 as in the stream of"
        f" rnnengine; medians of {span} interleaved rounds.",
        "",
        f"| layer, I = H | rnnengine, us |{also} fastest peer, us | ratio | share of the roof |",
        "|---|---:|" + "---:|" * len(own) + "---:|---:|---:|",
    ]
    for row in record["results"]:
        timings = row["timings"]
        cells = [timings[n]["median_us"] if n in timings else None for n in ("rnnengine", *own)]
        lines.append(
            f"| {row['name']} |"
            + "".join(" |" if us is None else f" {us:.2f} |" for us in cells)
            + f" {timings[row['fastest_peer']]['median_us']:.2f} ({row['fastest_peer']})"
            f" | {row['ratio']:.2f} | {row['roof']['share']:.0%} |"
        )
    return "\n".join(lines)
