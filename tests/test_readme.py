"""The README's code runs, its links lead somewhere, and every table is its committed record."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README_PATH = ROOT / "README.md"
README = README_PATH.read_text(encoding="utf-8")
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [README_PATH, *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # torch.export of an LSTM
def test_python_blocks_run_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    blocks = list(FENCE.finditer(README))
    assert len(blocks) > 5
    for block in blocks:
        above = README.count("\n", 0, block.start(1))
        exec(compile("\n" * above + block[1], str(ROOT / "README.md"), "exec"), names)


def test_links_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_made_from_their_records(page: Path) -> None:
    from rnnengine.bench.tables import fill

    text = page.read_text(encoding="utf-8")
    assert fill(text, ROOT) == text


def test_the_readme_has_a_table_of_its_record() -> None:
    from rnnengine.bench.tables import BLOCK

    blocks = BLOCK.findall(README)
    assert blocks
    assert all((ROOT / path).exists() and "|" in table for path, table in blocks)
