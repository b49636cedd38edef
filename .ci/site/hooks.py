"""What mkdocs asks as it builds the site: the pages and pictures that are made from the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

import api  # noqa: E402
import causes  # noqa: E402
import commands  # noqa: E402
import live  # noqa: E402
import worksheets  # noqa: E402


def on_files(files: Files, *, config: Any) -> Files:
    """Adds what is made, in the place of the page of that name where there is one."""

    def add(name: str, text: str) -> None:
        if old := files.get_file_from_path(name):
            files.remove(old)
        files.append(File.generated(config, name, content=text))

    add("api.md", api.page())
    add("commands.md", commands.command_line())
    add("spec.md", commands.spec_keys())
    add("layouts.md", commands.layouts())
    add("worksheets.md", worksheets.page())
    for name, text in live.reports():
        add(name, text)
    add("causes.md", causes.catalogue((ROOT / "docs" / "causes.md").read_text(), add))
    return files
