"""The README cannot drift: its install commands are what CI runs, its examples are run and their output compared.

    python .ci/readme.py first      the first install command
    python .ci/readme.py second     the second
    python .ci/readme.py check      runs every `$` line of every console block; prints what differs
    python .ci/readme.py write      the same, and puts what came out into the README

A block of ```console holds `$ command` lines, each followed by its output. Version numbers and the last digits of
rounding differ from machine to machine and are not compared.
"""

from __future__ import annotations

import difflib
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
INSTALL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = [
    (re.compile(r"\b(torch|torch-cell|onnxruntime) \d[\w.+]*"), r"\1 VERSION"),
    (re.compile(r"-?\b\d(\.\d+)?e-\d+"), "TINY"),
    (re.compile(r"the same number everywhere|at most TINY apart"), "CLOSE"),
    (re.compile(r"^ +difference .*$", re.MULTILINE), "DIFFERENCE"),
    (re.compile(r"worst \d\.\d+|\b0\.\d+ of the|\d[\d,.]* times the"), "RATIO"),
    (re.compile(r"^nearest to its bound: .*\n(.*apart.*\n.*here|.*\n)", re.MULTILINE), "NEAREST\n"),
    (re.compile(r"[ ─]+"), " "),
]


def main(argv: list[str]) -> int:
    text = README.read_text()
    match argv:
        case ["first"] | ["second"]:
            commands = INSTALL.findall(text)[0].strip().splitlines()
            print(commands[0 if argv == ["first"] else 1].partition("  #")[0])
            return 0
        case ["check"] | ["write"]:
            with tempfile.TemporaryDirectory() as folder:
                for name in ("configs", "examples"):
                    shutil.copytree(ROOT / name, Path(folder) / name)
                new = BLOCK.sub(lambda match: f"```console\n{rerun(match[1], Path(folder))}```", text)
            if argv == ["write"]:
                README.write_text(new)
                return 0
            return report(text, new)
    print(__doc__)
    return 2


def rerun(block: str, folder: Path) -> str:
    """The block with the output that its commands give now."""
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    said = []
    for command in commands:
        result = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        said.append(f"$ {command}\n{result.stdout}{result.stderr}")
    return "".join(said)


def report(old: str, new: str) -> int:
    before, after = (comparable(text).splitlines(keepends=True) for text in (old, new))
    differing = list(difflib.unified_diff(before, after, "README.md", "what the commands print now"))
    sys.stdout.writelines(differing or ["every command in the README prints what it shows\n"])
    return bool(differing)


def comparable(text: str) -> str:
    for pattern, instead in VARIES:
        text = pattern.sub(instead, text)
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
