"""docs/causes-backward.md has every id that a cause of wrong gradients can have, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `(grad-[^`]+)` \|", re.MULTILINE)


def written() -> set[str]:
    """The ids in the files of the families."""
    found = set()
    for path in (ROOT / "rnnspect" / "causes" / "backward" / "known").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("grad-"):
                found.add(node.value)
    return found


def test_every_id_is_on_the_page_once() -> None:
    rows = ROW.findall((ROOT / "docs" / "causes-backward.md").read_text())
    assert sorted(rows) == sorted(written())
