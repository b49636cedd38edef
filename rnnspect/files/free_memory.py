"""Checks that there is enough free memory before any is allocated."""

from __future__ import annotations

from rnnspect.errors import ResourceError

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB")


def require(needed: float, what: str, where: str | None = None) -> None:
    """Raises `ResourceError` if fewer than `needed` bytes of memory are free."""
    import psutil

    available = psutil.virtual_memory().available
    if needed > available:
        found = f"{what} would need {in_words(needed)} of memory, and {in_words(available)} is free"
        raise ResourceError(found, where=where)


def in_words(size: float) -> str:
    """A number of bytes as people write it: 3.7 TiB."""
    size = float(min(size, 10**300))
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
