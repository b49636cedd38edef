"""docs/files.md has a row for every format that a reader reads, and says which are not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnspect.weights import readers

PAGE = (Path(__file__).parent.parent / "docs" / "files.md").read_text()
ROWS = {line.split("|")[1].strip(): line for line in PAGE.splitlines() if line.startswith("| a")}


@pytest.mark.parametrize("kind", readers.READERS)
def test_the_page_has_each_format(kind: str):
    reader = readers.find(kind)
    assert reader.what in ROWS
    for end in reader.ends:
        assert end in ROWS[reader.what] or end == ".index.json"


def test_the_page_has_no_other_format():
    formats = PAGE.partition("## Formats")[2]
    rows = [line.split("|")[1].strip() for line in formats.splitlines() if line.startswith("| a")]
    assert sorted(rows) == sorted(readers.find(kind).what for kind in readers.READERS)
