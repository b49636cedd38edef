"""The plugin in pytest processes of their own, found by the entry point that pyproject.toml declares."""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

pytest_plugins = "pytester"
ROOT = Path(__file__).resolve().parents[1]
UNUSED = """
    import sys

    def test_nothing_of_it_is_loaded():
        assert {name for name in sys.modules if name.startswith("rnnspect")} == {"rnnspect", "rnnspect.pytest_plugin"}
        others = {"torch", "numpy", "pydantic", "rich", "typer"}  # which plugins of other packages may load
        assert others & {*sys.modules} == OTHERS

    def test_that_fails():
        assert 1 == 2
"""
USED = """
    import pytest, rnnspect, theirs, torch

    torch.manual_seed(0)
    gru, lost = torch.nn.GRU(3, 4, batch_first=True), torch.nn.GRU(3, 4, batch_first=True)
    lost.load_state_dict(gru.state_dict() | {"bias_hh_l0": torch.zeros(12)})
    x = torch.randn(2, 20, 3)

    def test_agrees(assert_agrees):
        assert_agrees(gru, x)
        assert_agrees(gru, x, gru(x)[0])
        assert rnnspect.check(gru, x)

    def test_differs(assert_agrees):
        assert_agrees(gru, x, lost(x)[0])

    def test_verdict():
        verdict = rnnspect.check(gru, x, recorded=lost(x)[0], explain=0)
        assert verdict

    def test_refused():
        rnnspect.check(gru, torch.randn(2, 20, 5))

    def test_refused_under_a_decorator(assert_agrees):
        assert_agrees(gru, x, torch.zeros(2, 19, 4))

    def test_refused_as_the_model_fails(assert_agrees):
        assert_agrees(theirs.Model(), x)
"""
THEIRS = """
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = torch.nn.GRU(3, 4)

        def forward(self, x):
            raise ValueError("theirs")
"""


@pytest.fixture
def installed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """This checkout with the entry points of its pyproject.toml, as pip would install them."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    site = pytester.mkdir("site")
    made = site / "rnnspect-0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: rnnspect\nVersion: 0\n")
    (made / "RECORD").write_text("rnnspect/__init__.py,,\nrnnspect/pytest_plugin.py,,\n")
    (made / "entry_points.txt").write_text("".join(f"[pytest11]\n{name} = {at}\n" for name, at in points.items()))
    monkeypatch.setenv("PYTHONPATH", f"{site}:{ROOT}")
    monkeypatch.setenv("COLUMNS", "200")
    return pytester


def _lines(result: pytest.RunResult) -> list[str]:
    """What pytest said, without the list of plugins and how long it took."""
    said = (line for line in result.outlines if not line.startswith("plugins: "))
    return [re.sub(r"\d+\.\d+s", "", line).strip("= ") for line in said]


@pytest.mark.slow
def test_a_suite_that_does_not_use_it_is_as_it_was(installed: pytest.Pytester) -> None:
    installed.makepyfile(seen="import sys\ndef test_seen(): print('seen', sorted(sys.modules))")
    without = installed.runpytest_subprocess("-s", "-p", "no:rnnspect", "seen.py").stdout.str()
    loaded = {name for name in ("torch", "numpy", "pydantic", "rich", "typer") if f"'{name}'" in without}
    installed.makepyfile(f"OTHERS = {loaded or set()}\n" + textwrap.dedent(UNUSED))
    installed.runpytest_subprocess("-W", "error").assert_outcomes(passed=1, failed=1)
    asked = ("-W", "error", "-k", "test_that_fails")
    with_it, without = (installed.runpytest_subprocess(*asked, *more) for more in ((), ("-p", "no:rnnspect")))
    assert _lines(with_it) == _lines(without)


@pytest.mark.slow
def test_nothing_is_warned_about_where_it_was_imported_before_pytest(installed: pytest.Pytester) -> None:
    installed.makepyfile("def test_passes(): pass")
    code = "import rnnspect, pytest, sys; sys.exit(pytest.main(['-W', 'error', '-p', 'no:cacheprovider']))"
    assert installed.run(sys.executable, "-W", "error", "-c", code).ret == 0


def test_a_failure_is_the_verdict_and_the_line_of_the_test(installed: pytest.Pytester) -> None:
    installed.makepyfile(USED, theirs=THEIRS)
    found = installed.runpytest_subprocess(timeout=300)
    found.assert_outcomes(passed=1, failed=5)
    out = found.stdout
    out.fnmatch_lines(
        [
            ">       assert_agrees(gru, x, lost(x)[[]0])",
            "E       AssertionError: differ: h of layer 0 forward, step 0, unit 0: expected *, got *",
            "E*bias-dropped*",
            ">       assert verdict",
            "E       assert <Verdict differ: h of layer 0 forward, step 0, unit 0>",
            ">       rnnspect.check(gru, torch.randn(2, 20, 5))",
            "E       rnnspect.errors.SequenceError: input: x has 5 features per step, input_size is 3; *",
            ">       assert_agrees(gru, x, torch.zeros(2, 19, 4))",
            "E       rnnspect.errors.SequenceError: recorded: output has 19 steps, the input has 20; *",
            "E       ValueError: theirs",
            ">       assert_agrees(theirs.Model(), x)",
            "E       rnnspect.errors.InputError: *theirs.py:*: running the model failed with ValueError: theirs",
            "FAILED *::test_differs - AssertionError: differ: h of layer 0 forward, step 0, unit 0: *",
            "FAILED *::test_verdict - assert <Verdict differ: h of layer 0 forward, step 0, unit 0>",
        ]
    )
    shown = (re.match(r"(\S+\.py):\d+: ", line) for line in found.outlines)
    files = {Path(match[1]).name for match in shown if match}
    assert files == {"test_a_failure_is_the_verdict_and_the_line_of_the_test.py", "theirs.py", "module.py"}  # torch's


@pytest.mark.slow
def test_the_full_trace_is_there_for_who_asks(installed: pytest.Pytester) -> None:
    installed.makepyfile(USED, theirs=THEIRS)
    found = installed.runpytest_subprocess("--full-trace", "-k", "test_refused", timeout=300)
    found.stdout.re_match_lines([r".*rnnspect/network/\S+\.py:\d+: SequenceError"])
