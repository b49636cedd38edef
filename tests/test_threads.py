"""Two at once give what one gives: checks in several threads of a process, and what of the process they change."""

from __future__ import annotations

import random
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from rnnspect import Spec, check, shapes, trace
from rnnspect.arithmetic.numbers import one_thread
from rnnspect.causes.search import rejudging
from rnnspect.files.silenced import ignoring

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnspect.causes.interface import Cause
    from rnnspect.judging.assumption import Assumption

THREADS, TIMES = 4, 2


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = self.rnn(x)[0]
        return given


def mine(x: Tensor, state: Tensor, weight_ih_l0: Tensor, weight_hh_l0: Tensor) -> tuple[Tensor, Tensor]:
    h, output = state[0], []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ weight_ih_l0.T + h @ weight_hh_l0.T)
        output.append(h)
    return torch.stack(output, 1), h[None]


def work() -> dict[str, Callable[[], object]]:
    """Work of several kinds, each the same whenever it is done. Live modules are shared by the threads."""
    generator = torch.Generator().manual_seed(1)
    live, module, dropping = Model(), nn.LSTM(4, 6, 2), nn.GRU(4, 6, 2, dropout=0.5)
    x = torch.randn(30, 2, 4, generator=generator)
    with torch.no_grad():
        output, states = module(x)
    lstm: dict[str, Any] = {"cell": "lstm", "input_size": 5, "hidden_size": 8}
    return {
        "lstm": lambda: check(Spec(**lstm, input="randn:200")),
        "float64, both ways": lambda: check(Spec(cell="gru", input="randn:60", dtype="float64", bidirectional=True)),
        "a projection, of which oneDNN warns": lambda: check(Spec(**lstm, input="randn:60", proj_size=2)),
        "a mistake": lambda: check(module, x, recorded=(output + 1e-3, states), explain=0),
        "a module with dropout, in train mode": lambda: check(dropping, x),
        "a live model": lambda: check(live, x),
        "somebody's own": lambda: check(Spec(cell="rnn", bias=False, input="randn:40"), engine=mine),
        "trace": lambda: trace(Spec(**lstm, input="randn:50")),
        "shapes": lambda: shapes(Spec(**lstm)),
        "shapes, printed": lambda: str(shapes(Spec(**lstm))),
    }


def of_the_process() -> tuple[object, ...]:
    """What a library must leave as it was."""
    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        str(torch.get_default_device()),
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_rng_state().tolist(),
        list(warnings.filters),
        sys.stdout,
    )


def in_threads(*works: Callable[[], object]) -> None:
    """Runs them at once, and raises what one of them raises."""
    failed: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:  # noqa: BLE001 - it is raised again
            failed.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_checks_in_several_threads_give_what_one_gives():
    every = work()
    alone = {name: str(one()) for name, one in every.items()}
    before = of_the_process()

    def shuffled(seed: int) -> None:
        names = [*every] * TIMES
        random.Random(seed).shuffle(names)
        for name in names:
            assert str(every[name]()) == alone[name], name

    in_threads(*(lambda seed=seed: shuffled(seed) for seed in range(THREADS)))
    assert of_the_process() == before


def test_warnings_are_heard_again_when_two_have_left_them_out():
    """The first to come is the first to go, so that each would put back what it found."""
    before = list(warnings.filters)
    first, second = ignoring("of the first"), ignoring("of the second")
    first.__enter__()
    second.__enter__()
    warnings.warn("of the first kind", UserWarning, stacklevel=1)
    first.__exit__(None, None, None)
    warnings.warn("of the second kind", UserWarning, stacklevel=1)
    second.__exit__(None, None, None)
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="of the first kind"):
        warnings.warn("of the first kind", UserWarning, stacklevel=1)


def test_who_leaves_takes_away_only_what_it_left_out():
    with ignoring("of the first"):
        with ignoring(), ignoring("of the first"):
            warnings.warn("another kind", UserWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="another kind"):
            warnings.warn("another kind", UserWarning, stacklevel=1)
        warnings.warn("of the first kind", UserWarning, stacklevel=1)


def test_each_thread_has_its_number_of_threads_again():
    """One comes while the other is inside, and leaves after it."""
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()
    found: dict[str, int] = {}

    def first() -> None:
        with one_thread():
            first_is_in.set()
            second_is_in.wait(300)
            with one_thread():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 1
        found["first"] = torch.get_num_threads()
        first_is_out.set()

    def second() -> None:
        first_is_in.wait(300)
        with one_thread():
            second_is_in.set()
            first_is_out.wait(300)
            assert torch.get_num_threads() == 1
        found["second"] = torch.get_num_threads()

    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        in_threads(first, second)
        in_threads(lambda: found.update(third=torch.get_num_threads()))
        assert found == {"first": 3, "second": 3, "third": 3}
    finally:
        torch.set_num_threads(usual)


def test_known_mistakes_are_made_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they are made from is small: beside other processes, two threads took ten times as long as one."""
    seen: list[int] = []

    def counted(assumed: Assumption) -> list[Cause]:
        seen.append(torch.get_num_threads())
        return []

    before, module, x = torch.get_num_threads(), nn.GRU(4, 6), torch.randn(5, 2, 4)
    torch.set_num_threads(2)
    monkeypatch.setattr(rejudging, "catalogue", counted)
    try:
        check(module, x, recorded={"output": module(x)[0].detach() + 0.1})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}
