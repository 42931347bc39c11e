"""Tables of Markdown pages, each made from the record that the page names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnengine.bench import accuracy, low, machine, models, report, scaling, start, steady

__all__ = ["ABSENT", "BLOCK", "fill", "markdown"]

BLOCK = re.compile(r"<!-- bench: (\S+)((?: \w+)*) -->\n(.*?)\n?<!-- /bench -->", re.DOTALL)
"""A table in a page: the record's path from the page's project, the parts of the grid that it shows
(all where none is named), and the table."""
ABSENT = "*No record yet.*"
"""Stands where a table belongs whose record is not there."""

_MAKERS = {
    "accuracy": accuracy.markdown,
    "layer": report.markdown,
    "low": low.markdown,
    "models": models.markdown,
    "roof": machine.markdown,
    "start": start.markdown,
    "steady": steady.markdown,
    "threads": scaling.markdown,
}


def markdown(record: Mapping[str, Any], parts: Sequence[str] = ()) -> str:
    """A record as a Markdown table, of some parts of the grid or of all."""
    shown = dict(record)
    if parts:
        shown["results"] = [row for row in record["results"] if row["grid"] in parts]
    return _MAKERS[record["benchmark"]](shown)


def fill(page: str, root: Path) -> str:
    """Make every table of a page again.

    Parameters
    ----------
    page : str
        Markdown with blocks ``<!-- bench: docs/bench/layer.json step -->`` to ``<!-- /bench -->``.
    root : Path
        The folder that the blocks' paths start from.
    """

    def table(block: re.Match[str]) -> str:
        path = root / block[1]
        parts = block[2].split()
        made = markdown(json.loads(path.read_text("utf-8")), parts) if path.exists() else ABSENT
        return f"<!-- bench: {block[1]}{block[2]} -->\n{made}\n<!-- /bench -->"

    return BLOCK.sub(table, page)
