"""A layout is one TOML file; what is wrong with one is said with its name and the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rnnspect import FileError
from rnnspect.weights import layouts

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
title = "Mine"
orientation = "out×in"
quirks = ["Of all."]

[gru]
where = "mine.GRU"
source = "mine.py"
quirks = ["Of one."]

[gru.arrays]
w = "W_ir W_iz W_in"
u = "W_hr W_hz W_hn"

[gru-before]
like = "gru"
where = "mine.GRU, before"
orientation = "in×out"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_what_a_form_does_not_say_comes_from_above_or_from_the_form_that_it_is_like(tmp_path: Path):
    found = layouts.read(written(tmp_path, GOOD))
    after, before = found.packings
    assert (found.name, found.title, after.form, before.form) == ("mine", "Mine", "gru", "gru-before")
    assert (after.orientation, before.orientation) == ("out×in", "in×out")
    assert (after.where, before.where) == ("mine.GRU", "mine.GRU, before")
    assert after.arrays == before.arrays == {"w": "W_ir W_iz W_in", "u": "W_hr W_hz W_hn"}
    assert after.quirks == before.quirks == ("Of all.", "Of one.")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("title", "titel"), r"mine.toml: unknown key 'titel'; expected .*did you mean 'title'"),
        (('title = "Mine"\n', ""), "mine.toml: missing: title"),
        (('title = "Mine"', "title = 1"), "mine.toml: title = 1 is a int; expected a str"),
        (("[gru]", "[gru"), "mine.toml: .*line 5"),
        (("out×in", "out x in"), "mine.toml: gru: orientation = 'out x in'; expected out×in, in×out"),
        (('source = "mine.py"\n', ""), "mine.toml: gru: missing: source"),
        (("where = ", "whose = "), "mine.toml: gru: unknown key 'whose'"),
        (('like = "gru"', 'like = "lstm"'), "mine.toml: gru-before: like = 'lstm'; expected gru, gru-before"),
        (("W_hz", "W_hf"), r"mine.toml: gru.arrays.u: unknown block W_hf; expected .* one of r, z, n"),
        (("W_hz", "W_z"), "mine.toml: gru.arrays.u: unknown block W_z"),
        (('"W_ir W_iz W_in"', "3"), "mine.toml: gru.arrays.w: unknown block 3"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, change: tuple[str, str], said: str):
    with pytest.raises(FileError, match=said):
        layouts.read(written(tmp_path, GOOD.replace(*change)))
