"""Which reader a file is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnspect.files.sources import File, parse_file
from rnnspect.weights import readers
from rnnspect.weights.readers.interface import Reader


@pytest.mark.parametrize("kind", readers.READERS)
def test_each_reader_is_there_and_no_two_read_the_same_files(kind: str):
    assert isinstance(readers.find(kind), Reader)
    for suffix in readers.READERS[kind]:
        assert readers.SUFFIXES.count(suffix) == 1
        assert readers.kind_of(Path(f"MODEL{suffix.upper()}")) == kind


@pytest.mark.parametrize("suffix", readers.SUFFIXES)
def test_a_module_stands_after_a_colon(tmp_path: Path, suffix: str):
    path = tmp_path / f"a:b{suffix}"
    assert parse_file(str(path)) == File(path)
    assert parse_file(f"{path}:c/d:0") == File(path, "c/d:0")
    assert parse_file(f"{path}:") == File(path, "")
    odd = tmp_path / f"a{suffix}:c"
    odd.touch()
    assert parse_file(str(odd)) == File(odd)


def test_other_files_have_no_reader():
    assert readers.kind_of(Path("spec.yaml")) is None
    assert parse_file("x.csv:rnn") == File(Path("x.csv:rnn"))
