"""Checks that there is enough free memory before any is allocated."""

from __future__ import annotations

import sys
from pathlib import Path

from rnnspect.errors import ResourceError

LARGE = 2**26
"""From so many bytes on, numbers that are kept for a while are stored on disk (`on_disk.py`)."""
_CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container may take (cgroup v2)."""
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB")


def require(needed: float, what: str, where: str | None = None) -> None:
    """Raises `ResourceError` if fewer than `needed` bytes of memory are free."""
    available = free()
    if needed > available:
        found = f"{what} would need {in_words(needed)} of memory, and {in_words(available)} is free"
        raise ResourceError(found, where=where)


def free() -> int:
    """Bytes that this process can still take: of what is free, of what `ulimit -v` leaves it, and of its container."""
    import psutil

    found = [psutil.virtual_memory().available]
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            found.append(most - psutil.Process().memory_info().vms)
    limit, used = (_bytes_in(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        found.append(limit - used + _cached())
    return max(0, min(found))


def _cached() -> int:
    """Bytes of files that the container keeps in memory until somebody needs it."""
    try:
        said = dict(line.split(maxsplit=1) for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return int(said["active_file"]) + int(said["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0


def _bytes_in(path: Path) -> int | None:
    """The number in a file; None where there is none, as where no limit is set."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def in_words(size: float) -> str:
    """A number of bytes as people write it: 3.7 TiB."""
    size = float(min(size, 10**300))
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
