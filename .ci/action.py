"""Runs action.yml as GitHub would, in the folder of the checkout and with the Python that runs this:

    python .ci/action.py sources=examples/tagger.py:build

Prints the action's outputs and ends with its status. Of expressions it knows the three kinds that the action has.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
EXPRESSION = re.compile(r"\$\{\{ *([\w.-]+) *\}\}")


def filled(text: str, known: dict[str, str]) -> str:
    return EXPRESSION.sub(lambda match: known[match[1]], text)


def main(argv: list[str]) -> int:
    action: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    given = dict(one.split("=", 1) for one in argv)
    if unknown := sorted(set(given) - set(action["inputs"])):
        raise SystemExit(f"action.yml has no input {unknown[0]}")
    known = {"github.action_path": str(ROOT)}
    for name, told in action["inputs"].items():
        if told.get("required") and name not in given:
            raise SystemExit(f"action.yml asks for {name}")
        known[f"inputs.{name}"] = given.get(name, told.get("default", ""))
    status = 0
    for step in action["runs"]["steps"]:
        outputs, code = run(step, known)
        known |= {f"steps.{step.get('id')}.outputs.{name}": value for name, value in outputs.items()}
        if status := code:
            break
    for name, told in action["outputs"].items():
        print(f"{name}: {filled(told['value'], known)}")
    return status


def run(step: dict[str, Any], known: dict[str, str]) -> tuple[dict[str, str], int]:
    """The step's outputs and its status."""
    with tempfile.NamedTemporaryFile("r") as file:
        own = {name: filled(value, known) for name, value in step["env"].items()}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "GITHUB_OUTPUT": file.name, **own}
        argv = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        code = subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode
        return dict(line.rstrip("\n").split("=", 1) for line in file), code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
