"""A size in words, and a refusal of more than is free."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from rnnspect import ResourceError
from rnnspect.files import free_memory


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (3.7 * 2**40, "3.7 TiB"),
        (2**80, "1024.0 ZiB"),
    ],
)
def test_a_size_in_words(size: float, words: str):
    assert free_memory.in_words(size) == words


def test_a_size_that_no_float_holds_has_words_too():
    assert free_memory.in_words(10**400).endswith("ZiB")


def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    free_memory.require(1000, "this")
    with pytest.raises(ResourceError, match="this would need 1001 bytes of memory, and 1000 bytes is free"):
        free_memory.require(1001, "this")
