"""The code of the README and of the examples runs, links lead somewhere, and every table is its
committed record.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README_PATH = ROOT / "README.md"
README = README_PATH.read_text(encoding="utf-8")
CODE = {"README.md": 6, "examples/models/README.md": 4}
"""Pages with code that runs, and the least number of their blocks."""
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [README_PATH, *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # torch.export of an LSTM
@pytest.mark.parametrize("page", CODE)
def test_python_blocks_run_in_order(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = list(FENCE.finditer(text))
    assert len(blocks) >= CODE[page]
    for block in blocks:
        above = text.count("\n", 0, block.start(1))
        exec(compile("\n" * above + block[1], str(ROOT / page), "exec"), names)


@pytest.mark.parametrize("page", CODE)
def test_links_lead_to_files(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_made_from_their_records(page: Path) -> None:
    from rnnengine.bench.tables import fill

    text = page.read_text(encoding="utf-8")
    assert fill(text, ROOT) == text


def test_the_readme_has_a_table_of_its_record() -> None:
    from rnnengine.bench.tables import BLOCK

    blocks = BLOCK.findall(README)
    assert blocks
    assert all((ROOT / path).exists() and "|" in table for path, _, table in blocks)
