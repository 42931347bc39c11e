"""The README's code runs, its links lead somewhere, and its table is the committed record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BENCH = re.compile(r"<!-- bench: (\S+) -->\n(.*?)<!-- /bench -->", re.DOTALL)


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


def test_table_is_made_from_the_record() -> None:
    from rnnengine.bench.report import markdown

    found = BENCH.search(README)
    assert found
    record = ROOT / found[1]
    table = markdown(json.loads(record.read_text(encoding="utf-8"))) if record.exists() else ""
    assert found[2].strip() == table
