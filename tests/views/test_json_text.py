"""JSON in pieces is what json writes in one; what may be obeyed is in no output as it is."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnspect.cli import main
from rnnspect.views import json_text
from rnnspect.views.text import printable

HOSTILE = "\u2028\u2029\u202a\u202e\u2066\u2069\u200e\u200f\ufeff\ufffe\uffff\udc80\x7f\x85\U000e0001"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside) | st.lists(st.lists(inside)),
)


@pytest.mark.slow
@given(VALUES)
def test_it_is_what_json_writes(value):
    text = "".join(json_text.pieces(value))
    assert json.loads(text) == value
    if text.isascii() and "\\u" not in text:
        assert text == json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("value", [[[1.5] * 7] * 20_000, [[[1, 2]] * 50_000] * 2, list(range(200_000)), [[[]]], [()]])
def test_many_numbers_are_written_together(value):
    parts = list(json_text.pieces(value))
    assert "".join(parts) == json.dumps(value)
    assert len(parts) < 50


def test_what_may_be_obeyed_is_escaped():
    text = "".join(json_text.pieces({HOSTILE: [HOSTILE, "é×"]}))
    assert json.loads(text) == {HOSTILE: [HOSTILE, "é×"]}
    assert not set(HOSTILE) & set(text)
    assert "é×" in text
    assert printable(HOSTILE).isascii()


@pytest.mark.parametrize("kind", ["table", "json", "junit", "svg", "html"])
def test_no_output_holds_it_as_it_is(kind, tmp_path, capsys, monkeypatch):
    """A file's name is what a stranger may choose; on disk it is bytes, and a lone surrogate stands for one."""
    monkeypatch.chdir(tmp_path)
    path = f"a{HOSTILE.replace(chr(0x85), '')}<b>.yaml"
    Path(path).write_text("cell: gru\ninput_size: 3\nhidden_size: 4\n")
    command = ["report", path] if kind == "html" else ["check", path, path, "--explain", "0"]
    assert main([*command, "-f", kind]) == 0
    shown = capsys.readouterr().out
    assert main([*command, "-f", kind, "-o", f"out.{ {'table': 'txt', 'junit': 'xml'}.get(kind, kind) }"]) == 0
    (out,) = tmp_path.glob("out.*")
    for text in (shown, out.read_text()):
        assert not set(HOSTILE) & set(text)
        if kind in ("junit", "svg"):
            ElementTree.fromstring(text)
        if kind == "html":  # nor does what its script shows
            data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
            assert r"\u202e" in str(list(strings(data)))
            assert not set(HOSTILE) & set("".join(strings(data)))


def strings(value):
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value
