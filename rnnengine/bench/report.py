"""Results as text, as JSON for the record, and as a Markdown table made from that JSON."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rnnengine.bench.layer import LayerResult

__all__ = ["HEADER", "as_json", "line", "markdown", "summary"]

HEADER = (
    "layer              rnnengine us (p99)    onnxruntime us (p99, way)          ratio"
    "    GB/s   roof"
)


def line(result: LayerResult) -> str:
    """One line under ``HEADER``."""
    own, peer = result.timings["rnnengine"], result.timings["onnxruntime"]
    return (
        f"{result.case.name:17s} {own.median_us:10.2f} ({own.p99_us:8.2f})"
        f" {peer.median_us:12.2f} ({peer.p99_us:8.2f}, {peer.way:10s})"
        f" {result.ratio:8.2f}x {result.gigabytes_per_second:7.1f} {result.share_of_roof:5.0%}"
    )


def summary(results: Sequence[LayerResult]) -> list[str]:
    """The smallest ratio for every number of steps."""
    lines = []
    for steps in sorted({result.case.steps for result in results}):
        least = min((r for r in results if r.case.steps == steps), key=lambda r: r.ratio)
        lines.append(f"T={steps}: smallest ratio {least.ratio:.2f}x ({least.case.name})")
    return lines


def as_json(
    results: Sequence[LayerResult], cpu: Mapping[str, object], rounds: int
) -> dict[str, Any]:
    """Everything measured, with machine, versions and date."""
    return {
        "benchmark": "layer",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": {
            "processor": _processor(),
            "architecture": platform.machine(),
            "system": f"{platform.system()} {platform.release()}",
            "cores": os.cpu_count(),
        },
        "cpu": dict(cpu),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in ("rnnengine", "numpy", "onnx", "onnxruntime")},
        "settings": {"rounds": rounds, "threads": 1, "batch": 1},
        "results": [
            {
                "cell": result.case.cell,
                "hidden": result.case.hidden,
                "steps": result.case.steps,
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
        ],
    }


def markdown(record: Mapping[str, Any]) -> str:
    """A table for the README from what ``as_json`` made."""
    machine, versions = record["machine"], record["versions"]
    lines = [
        f"{machine['processor']}, one thread, {record['cpu']['isa']}, {record['date']};"
        f" onnxruntime {versions['onnxruntime']} called in its faster way of `run` and io-binding,"
        " with its state carried at T=1 as in the stream of rnnengine;"
        f" medians of {record['settings']['rounds']} interleaved rounds.",
        "",
        "| layer, I = H, B = 1 | rnnengine, us | onnxruntime, us | ratio | share of the roof |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['cell']} H={row['hidden']} T={row['steps']}"
        f" | {row['timings']['rnnengine']['median_us']:.2f}"
        f" | {row['timings']['onnxruntime']['median_us']:.2f}"
        f" | {row['ratio']:.2f} | {row['roof']['share']:.0%} |"
        for row in record["results"]
    ]
    return "\n".join(lines)


def _version(name: str) -> str:
    """Version of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for entry in info.read_text(encoding="utf-8").splitlines():
            key, _, value = entry.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
