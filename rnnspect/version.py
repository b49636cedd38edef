"""The version: that of the git tag which the package was built from, with the commits since."""

from __future__ import annotations


def version() -> str:
    """As `pip show rnnspect` has it; "0+unknown" where rnnspect is not installed and runs from a folder."""
    from importlib import metadata  # 25 ms, which --help does without

    try:
        return metadata.version("rnnspect")
    except metadata.PackageNotFoundError:
        return "0+unknown"
