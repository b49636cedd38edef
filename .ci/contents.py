"""The wheel holds the package and nothing else, the sdist every file of the repository and nothing else.

python .ci/contents.py dist/*
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MADE = ("PKG-INFO", "setup.cfg", "rnnspect.egg-info/")
"""What the build adds to an sdist."""


def tracked() -> set[str]:
    argv = ["git", "ls-files", "-z"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.split("\0") if name}


def held(path: Path) -> set[str]:
    """The files in it, without what the build adds."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name for name in wheel.namelist() if ".dist-info/" not in name}
    with tarfile.open(path) as sdist:
        names = {one.name.partition("/")[2] for one in sdist.getmembers() if one.isfile()}
    return {name for name in names if not name.startswith(MADE)}


def main(paths: list[str]) -> int:
    wrong = 0
    for path in map(Path, paths):
        meant = tracked()
        if path.suffix == ".whl":
            meant = {name for name in meant if name.startswith("rnnspect/")}
        found = held(path)
        for name in sorted(found ^ meant):
            print(f"{path.name}: {name} is {'missing' if name in meant else 'not ours'}")
        wrong += found != meant
        print(f"{path.name}: {len(found)} files")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
