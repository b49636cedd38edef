"""Which cases of a test the README's suite runs. CI runs a part of the others, too; the campaigns run all."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

_Row = tuple[str, ...]

ONE_CASE = (
    "tests/arithmetic/test_fixed_functions.py",
    "tests/arithmetic/test_unroll.py",
    "tests/causes/",
    "tests/cells/test_examples.py",
    "tests/cells/test_own_cell.py",
    "tests/cells/test_states_handed_on.py",
    "tests/cells/test_sums.py",
    "tests/cells/test_variants.py",
    "tests/cells/test_without_projection.py",
    "tests/checking/identities/test_final_states.py",
    "tests/checking/live/test_watch.py",
    "tests/checking/onnx/test_cells.py",
    "tests/checking/sweep/test_sweep.py",
    "tests/checking/test_autocast.py",
    "tests/checking/test_backward.py",
    "tests/checking/test_backward_cut.py",
    "tests/checking/test_backward_stacks.py",
    "tests/checking/test_backward_written.py",
    "tests/checking/test_check.py",
    "tests/checking/test_framework_gradients.py",
    "tests/checking/test_narrower_dtype.py",
    "tests/checking/test_recorded_corners.py",
    "tests/checking/test_what_went_in.py",
    "tests/engines/test_variants.py",
    "tests/files/test_pickle_file.py",
    "tests/judging/evidence/test_jacobian_matrix.py",
    "tests/judging/test_correct.py",
    "tests/judging/test_estimate.py",
    "tests/judging/test_evidence.py",
    "tests/judging/test_final_states.py",
    "tests/judging/test_half_types.py",
    "tests/judging/test_if_rounded.py",
    "tests/judging/test_judge.py",
    "tests/judging/test_matrix_forms_drawn.py",
    "tests/judging/test_overflow.py",
    "tests/judging/test_quantised.py",
    "tests/judging/test_recovering.py",
    "tests/judging/test_stack.py",
    "tests/planted_forms/",
    "tests/weights/readers/test_checkpoints.py",
    "tests/weights/readers/test_tensorflow.py",
)
"""Where a case takes a second and a test has many: the README's suite runs the first of each test."""


def sampled(values: Iterable[Any], one_in: int) -> list[Any]:
    """For `parametrize`: the first of every `one_in` values as it is, the others marked slow."""
    return [value if n % one_in == 0 else _slow(value) for n, value in enumerate(values)]


def covered(values: Sequence[Any], of: Callable[[Any], Collection[Any]]) -> list[Any]:
    """For `parametrize`: of the values as many as it takes for all to occur that `of` says of any; the others slow."""
    kept = covering([of(value) for value in values])
    return [value if n in kept else _slow(value) for n, value in enumerate(values)]


def _slow(value: Any) -> Any:
    if isinstance(value, type(pytest.param())):
        return pytest.param(*value.values, marks=[*value.marks, pytest.mark.slow], id=value.id)
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.slow)


def thin(items: Sequence[pytest.Item]) -> None:
    """Of a test marked `each_value_once`, what `covering` leaves out is marked slow; with each parameter of a fixture,
    such as a device, by itself. In the folders of `ONE_CASE` all but the first case are slow. Then of the slow cases of
    each test, of causes of each file, most are left to the campaigns."""
    _mark_slow(items)
    slow: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow"):
            slow.setdefault(_kind(item.nodeid), []).append(item)
    for name, cases in slow.items():
        kept = a_part([case.nodeid for case in cases], 32 if name.startswith("tests/causes/") else 8)
        for case in cases:
            if case.nodeid not in kept:
                case.add_marker(pytest.mark.campaign)


def _kind(node: str) -> str:
    """The test of a case; of causes, which have hundreds of tests, the file of those that have several cases."""
    return node.partition("::" if node.startswith("tests/causes/") and "[" in node else "[")[0]


def a_part(ids: Collection[str], one_in: int) -> set[str]:
    """The same each time, and at no regular distance: else of a parameter with four values three would be left out."""
    return set(sorted(ids, key=lambda one: zlib.crc32(one.encode()))[: math.ceil(len(ids) / one_in)])


def _mark_slow(items: Iterable[pytest.Item]) -> None:
    tests: dict[tuple[str, ...], list[tuple[pytest.Function, set[_Row]]]] = {}
    begun = set[str]()
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("campaign"):
            continue
        name = item.nodeid.partition("[")[0]
        if item.nodeid.startswith(ONE_CASE):
            if name in begun:
                item.add_marker(pytest.mark.slow)
            begun.add(name)
        elif isinstance(item, pytest.Function) and item.get_closest_marker("each_value_once"):
            rows, fixtures = _rows(item)
            tests.setdefault((name, *fixtures), []).append((item, rows))
    for cases in tests.values():
        kept = covering([rows for _, rows in cases])
        for at, (case, _) in enumerate(cases):
            if at not in kept:
                case.add_marker(pytest.mark.slow)


def covering(cases: Sequence[Collection[Any]]) -> set[int]:
    """The places of a few of the cases in which all that occurs in any of them occurs."""
    missing, kept = set().union(*cases), set[int]()
    while missing:
        best = max(range(len(cases)), key=lambda at: len(missing & set(cases[at])))
        missing -= set(cases[best])
        kept.add(best)
    return kept


def _rows(case: pytest.Function) -> tuple[set[_Row], _Row]:
    """What each `parametrize` gave the case, and what fixtures did: names, and values by their identity, as not all
    can be compared."""
    values = {name: f"{name} {id(value)}" for name, value in case.callspec.params.items()}
    rows = set()
    for mark in case.iter_markers("parametrize"):
        names = mark.args[0].replace(",", " ").split() if isinstance(mark.args[0], str) else mark.args[0]
        rows.add(tuple(values.pop(name) for name in names))
    return rows, tuple(values.values())
