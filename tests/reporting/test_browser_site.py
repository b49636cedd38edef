"""The site opened from a folder, in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def test_a_page_from_a_folder_has_a_worker_to_search_with(chromium: Any, tmp_path: Path) -> None:
    """The theme's search is a worker, which no browser starts for a file:// page by itself."""
    shutil.copy(ROOT / "docs" / "iframe-worker.js", tmp_path)
    (tmp_path / "worker.js").write_text("addEventListener('message', (event) => postMessage(event.data + 1));")
    begin = "const worker = new Worker('worker.js'); worker.postMessage(41);"
    answer = "worker.addEventListener('message', (event) => { document.title = `answer ${event.data}`; });"
    page = f"<script src='iframe-worker.js'></script><body><script>{begin} {answer}</script>"
    (tmp_path / "index.html").write_text(page)
    shown = chromium.new_page()
    shown.goto((tmp_path / "index.html").as_uri())
    shown.wait_for_function("document.title === 'answer 42'")
    shown.close()
