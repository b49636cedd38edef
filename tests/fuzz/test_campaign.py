"""The campaign itself: whole files are read, damaged ones are the same for the same number, and what goes wrong is
seen, kept and made small."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnspect import cli
from tests.fuzz import campaign, trying
from tests.fuzz.campaign import input_of
from tests.fuzz.mutations.numbers import CANARY
from tests.fuzz.reducing import reduced
from tests.fuzz.seeds import ARRAY, Seed, every_seed
from tests.fuzz.trying import ANSWER, LINUX, MESSAGE, tried

pytestmark = pytest.mark.skipif(not LINUX, reason="skipped: memory is measured as Linux tells it")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seed]:
    return every_seed(tmp_path_factory.mktemp("seeds"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_whole_files_are_read(seeds: dict[str, Seed], here: Path) -> None:
    """Else the campaign would damage what nobody reads anyway."""
    for name, seed in seeds.items():
        given = str(seed.write(here / name))
        command = ("check", "--cell", "lstm", "--input-size", "3", "--hidden-size", "3", "-i", "ones:5", "--recorded")
        outcome = tried([*command, given] if seed.role == ARRAY else ["shapes", given])
        assert outcome.what == ANSWER or name == "torch 0.1", (name, outcome)


def test_an_input_is_the_same_for_the_same_number(seeds: dict[str, Seed]) -> None:
    assert [input_of(seeds, number) for number in range(30)] == [input_of(seeds, number) for number in range(30)]
    assert len({input_of(seeds, number).content for number in range(200)}) > 150


@pytest.mark.slow
def test_damaged_files_are_an_answer_or_a_message(seeds: dict[str, Seed], here: Path) -> None:
    for number in range(150):
        one = input_of(seeds, number)
        outcome = tried(one.write(here / str(number)))
        assert outcome.what in (ANSWER, MESSAGE), (number, outcome)


def test_every_single_damage_comes_in_turn(seeds: dict[str, Seed]) -> None:
    some = {name: seeds[name] for name in ("npz", "onnx", "spec gru", "array .csv", "tflite", "pickle protocol 2")}
    for numbers in campaign.turns(some, 1):
        every = [one.content for one in campaign.in_turn(some, numbers)]
        assert len(set(every)) > 0.75 * len(every) > 30
        again = next(campaign.in_turn(some, range(numbers.start + 29, numbers.stop)))
        assert again.content == every[29]
        assert again.number == numbers.start + 29


def test_a_field_that_a_message_lacks_is_put_into_it(seeds: dict[str, Seed]) -> None:
    """ONNX's `ref_attr_name`, which no attribute of a graph has, has the number 21."""
    some = {"onnx": seeds["onnx"]}
    every = {one.content for one in campaign.in_turn(some, next(campaign.turns(some, 1)))}
    assert any(b"\xaa\x01\x01x" in content for content in every)


def _prints(text: str) -> Callable[[list[str]], int]:
    return lambda _: print(text, file=sys.stderr) or 2  # type: ignore[func-returns-value]


WRONG: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "a fault": (lambda _: 4, "exit status 4"),
    "a difference where nothing is judged": (lambda _: 1, "exit status 1"),
    "an exception": (lambda _: 1 // 0, "ZeroDivisionError came out of main"),
    "no message": (lambda _: 2, "exit status 2 without a message"),
    "a long message": (_prints("error: " + "many words\n" * 500), "5007 characters of messages"),
    "a long line": (_prints("error: " + "x" * 1100), "a line of 1107 characters"),
    "an escape": (_prints("error: \x1b[31m"), "control characters in a message"),
    "a right-to-left override": (_prints("error: \u202e"), "control characters in a message"),
    "an escape in the answer": (lambda _: print("\x07") or 0, "control characters in an answer"),  # type: ignore[func-returns-value]
    "a warning": (lambda _: warnings.warn("old", stacklevel=1) or 0, "beside the message: UserWarning: old"),  # type: ignore[func-returns-value]
    "a log": (lambda _: logging.getLogger("x").warning("hm") or 0, "beside the message: x logged 'hm'"),  # type: ignore[func-returns-value]
    "a program": (lambda _: os.system("true"), "beside the message: os.system(b'true',)"),
    "the canary": (lambda _: Path(CANARY).touch() or 0, "code of the file ran"),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize(("ends", "what"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_seen(
    ends: Callable[[list[str]], int], what: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "main", ends)
    assert tried(["shapes", "x"]).what == what
    monkeypatch.undo()


@pytest.mark.parametrize("how", ["time", "memory"])
def test_what_takes_too_much_is_seen(how: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(_: list[str]) -> int:
        while how == "time":
            pass
        return len(bytes(2**26)) and 0  # 64 MiB; touched, since bytes are copied into themselves

    def takes(_: list[str]) -> int:
        return len(bytearray(b"x") * 2**27) and 0

    limit, value = ("SECONDS", 1) if how == "time" else ("GROWTH", 2**26)
    monkeypatch.setattr(trying, limit, value)
    monkeypatch.setattr(cli, "main", hangs if how == "time" else takes)
    assert tried(["shapes", "x"]).what.startswith({"time": "it took more than 1 s", "memory": "it took 1"}[how])


def test_a_process_that_dies_is_one_failure(
    seeds: dict[str, Seed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        campaign, "tried", lambda arguments: os._exit(9) if "dynet" in arguments[-1] else tried(["layouts"])
    )
    some = {name: seeds[name] for name in ("dynet", "npz")}
    *_, tally = campaign.campaign(some, tmp_path, campaign.at_random, [range(5), range(5, 8)], 2, 5)
    dynet = sum(input_of(some, number).format == "dynet" for number in range(8))
    assert 0 < dynet < 8
    assert tally.counts == {("dynet", "failed"): dynet, ("npz", ANSWER): 8 - dynet}
    assert [what for _, what, _ in tally.failures.values()] == ["the process died (9)"]
    lines = list(campaign.table(tally, markdown=True))
    assert lines[1].startswith("|----")
    assert lines[-3].replace(" ", "") == f"|all|8|{8 - dynet}|0|{dynet}|"


def test_a_failed_input_is_made_small() -> None:
    assert reduced(b"many words (and brackets) " * 20 + b"[end", lambda data: b"(" in data and b"[" in data) == b"(["
