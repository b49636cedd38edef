"""The site loads nothing from another host: what `.ci/site/offline.py` finds in pages that do."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / ".ci" / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


OFFLINE = module("offline")


@pytest.mark.parametrize(
    "said",
    [
        '<script src="https://unpkg.com/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.googleapis.com/css">',
        '<img src="a.png" srcset="https://elsewhere.example/a.png 2x">',
        "<style>@import 'https://elsewhere.example/a.css'</style>",
        '<p style="background: url(http://elsewhere.example/a.png)">',
        '<iframe src="https://elsewhere.example/"></iframe>',
        '<svg><image xlink:href="https://elsewhere.example/a.png"/></svg>',
        '<img src="missing.png">',
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(tmp_path: Path, said: str):
    (tmp_path / "a.png").touch()
    (tmp_path / "index.html").write_text(f"<html>{said}</html>")
    assert len(OFFLINE.wrong(tmp_path)) == 1


def test_links_and_the_sites_own_files_are_no_fault(tmp_path: Path):
    (tmp_path / "a.png").touch()
    page = '<a href="https://elsewhere.example">x</a><img src="a.png?1"><img src="data:image/png;base64,">'
    (tmp_path / "index.html").write_text(page)
    (tmp_path / "a.css").write_text("@font-face { src: url('https://elsewhere.example/a.woff') }")
    assert OFFLINE.wrong(tmp_path) == ["a.css loads https://elsewhere.example/a.woff"]
