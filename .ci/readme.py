"""What the README and docs/ show cannot drift: the install commands are what CI runs, every example is run.

    python .ci/readme.py first      the README's first install command
    python .ci/readme.py second     the second
    python .ci/readme.py check      runs every example of every page; prints what differs
    python .ci/readme.py write      the same, and puts what came out into the pages and pictures

An example is a `$ command` line, with its output, in a block of ```console; a block of ```pycon, which doctest runs;
or a picture, whose command stands in a comment before it: <!-- $ rnnspect … -o docs/name.svg -->. Each page is run in a
fresh folder with configs/ and examples/ in it. Version numbers and the last digits of rounding differ from machine to
machine and are not compared. A link of the README must lead somewhere.
"""

from __future__ import annotations

import difflib
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"^<!-- \$ (.*) -->$", re.MULTILINE)
LINK = re.compile(r"\]\(([\w./-]+\.\w+)\)")
INSTALL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = [
    (re.compile(r"\b(torch|torch-cell|onnxruntime) \d[\w.+]*"), r"\1 VERSION"),
    (re.compile(r"^ *Largest .*\n(           .*\n)*", re.MULTILINE), "LARGEST\n"),
    (
        re.compile(
            r"\s+largest\s+error\s+[\d.]+\s+%\s+of\s+its\s+limit,\s+detects\s+gate\s+errors\s+of\s+\S+\s+and\s+more"
        ),
        " ROW",
    ),
    (re.compile(r"from [\d,.]+\s+×\s+the\s+limit\s+to\s+[\d.]+\s+×"), "RATIO"),
    (re.compile(r"(?<= )(agree|differ|cannot tell) +[\d.,e+]+ [%×]"), r"\1 SHARE"),
    (re.compile(r"[\d.]+ % of (the allowed|it)|[\d,.]+ × the (allowed|limit)"), "SHARE"),
    (re.compile(r"[\d,.]+\s+×\s+smaller(;\s+probability\s+of\s+coincidence:\s+1\s+in\s+10\^[\d,]+)?"), "SMALLER"),
    (re.compile(r"-?\b\d(\.\d+)?e-\d+"), "TINY"),
    (re.compile(r"the same number everywhere|maximum difference (0\.0e\+00|TINY)"), "CLOSE"),
    (re.compile(r"^ +difference .*$", re.MULTILINE), "DIFFERENCE"),
    (re.compile(r"(\d\.\d{5})\d{2,}"), r"\1"),
    (re.compile(r"[ ─]+"), " "),
]


def main(argv: list[str]) -> int:
    match argv:
        case ["first"] | ["second"]:
            commands = INSTALL.findall(README.read_text())[0].strip().splitlines()
            print(commands[0 if argv == ["first"] else 1].partition("  #")[0])
            return 0
        case ["check"] | ["write"]:
            pages = [README, *sorted((ROOT / "docs").glob("*.md"))]
            said = [line for page in pages for line in differing(page, write=argv == ["write"])]
            sys.stdout.writelines(said or ["every example in the README and docs/ gives what it shows\n"])
            return bool(said)
    print(__doc__)
    return 2


def differing(page: Path, write: bool) -> list[str]:
    """What a page and its pictures show and their examples do not give; with `write`, what cannot be mended."""
    old = page.read_text()
    links = LINK.findall(old) if page == README else []  # those of docs/ are mkdocs's: some lead to pages that it makes
    broken = [f"{page.name}: no file {link}\n" for link in links if not (page.parent / link).exists()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("configs", "examples"):
            shutil.copytree(ROOT / part, folder / part)
        (folder / "docs").mkdir()
        new = BLOCK.sub(lambda match: f"```console\n{rerun(match[1], folder)}```", old)
        for command in PICTURE.findall(old):
            bash(command, folder)
        broken += doctested("\n".join(PYTHON.findall(old)), folder)
        for made in (folder / "docs").glob("*.svg"):
            kept = ROOT / "docs" / made.name
            if write:
                shutil.copy(made, kept)
            broken += compared(kept.name, drawn(kept.read_text()), drawn(made.read_text()))
    if write:
        page.write_text(new)
        return broken
    return broken + compared(page.name, old, new)


def rerun(block: str, folder: Path) -> str:
    """The block with the output that its commands give now."""
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    return "".join(f"$ {command}\n{bash(command, folder)}" for command in commands)


def bash(command: str, folder: Path) -> str:
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    argv = ["bash", "-c", command]
    result = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


def doctested(session: str, folder: Path) -> list[str]:
    if not session:
        return []
    (folder / "session.txt").write_text(session)
    argv = [sys.executable, "-m", "doctest", "-o", "ELLIPSIS", "session.txt"]
    result = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    return [result.stdout + result.stderr] if result.returncode else []


def drawn(picture: str) -> str:
    """The words in an SVG, a line for each row of it: how they are drawn differs between versions of rich."""
    rows: dict[str, str] = {}
    for y, text in re.findall(r'<text [^>]*?\by="([\d.]+)"[^>]*>([^<]*)</text>', picture):
        rows[y] = rows.get(y, "") + html.unescape(text).replace("\xa0", " ")
    return "".join(f"{row}\n" for row in rows.values())


def compared(name: str, old: str, new: str) -> list[str]:
    before, after = (comparable(text).splitlines(keepends=True) for text in (old, new))
    return list(difflib.unified_diff(before, after, name, "what comes out now"))


def comparable(text: str) -> str:
    for pattern, instead in VARIES:
        text = pattern.sub(instead, text)
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
