"""Known holes in what is installed, by pip-audit. Fails on one; says so where the service cannot be asked."""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    argv = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"not audited: the service does not answer: {result.stderr.strip().rpartition(chr(10))[2]}")
        return 0
    asked = [package for package in packages if "skip_reason" not in package]
    holes = [(package, hole) for package in asked for hole in package["vulns"]]
    for package, hole in holes:
        mended = ", ".join(hole["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {hole['id']}, mended in {mended}")
    unknown = len(packages) - len(asked)
    print(f"{len(asked)} packages audited, {unknown} that the service does not know; {len(holes)} holes")
    return bool(holes)


if __name__ == "__main__":
    sys.exit(main())
