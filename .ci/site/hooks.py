"""What mkdocs asks as it builds the site: the pages and pictures that are made from the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import causes  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402

DOCS = HERE.parents[1] / "docs"


def on_files(files: Files, *, config: Any) -> Files:
    """Adds what is made, in the place of the page of that name where there is one."""

    def add(name: str, text: str) -> None:
        if old := files.get_file_from_path(name):
            files.remove(old)
        files.append(File.generated(config, name, content=text))

    add("causes.md", causes.catalogue((DOCS / "causes.md").read_text(), add))
    return files
