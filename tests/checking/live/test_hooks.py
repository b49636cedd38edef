"""Each return of a watched module is that of its own call: in one that calls itself, in threads, after an exception."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import watch

pytestmark = pytest.mark.usefixtures("no_causes")


class Chunked(nn.LSTM):
    """Calls itself for each chunk, and loses the state in between."""

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        if len(x) <= 4:
            return super().forward(x, hx)
        parts = [self(part) for part in x.split(4)]
        return torch.cat([output for output, _ in parts]), parts[-1][1]


class Retried(nn.GRU):
    """Tries itself on what it does not take; then it is right, but for `error`."""

    error = 0.0

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        if x.shape[-1] == self.input_size:
            with suppress(RuntimeError):
                self(x[..., 1:])
        output, final = super().forward(x, hx)
        return output + self.error, final


def _assert_no_hooks(module: nn.Module) -> None:
    assert not module._forward_hooks
    assert not module._forward_pre_hooks


def test_a_module_that_calls_itself_is_judged_as_a_whole_too():
    model, x = nn.Sequential(Chunked(5, 6)), torch.randn(12, 2, 5)
    with watch(model) as seen:
        model(x)
    answers = [(one.call.shape[0], one.answer) for one in seen.check()]
    assert answers == [(4, "agree"), (4, "agree"), (4, "agree"), (12, "differ")]
    assert rnnspect.check(model, x).verdict == "differ"
    with pytest.raises(AssertionError, match="step 4"):
        rnnspect.assert_agrees(model, x)
    _assert_no_hooks(model[0])


@pytest.mark.parametrize(("error", "answer"), [(0.0, "agree"), (0.01, "differ")])
def test_a_call_that_raised_inside_of_another_is_not_taken_for_it(error: float, answer: str):
    model, x = Retried(5, 6), torch.randn(9, 2, 5)
    model.error = error
    with watch(model) as seen:
        model(x)
        model(x)
    assert [(one.call.shape, one.answer) for one in seen.check()] == 2 * [((9, 2, 5), answer)]


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_kept_of_a_call_that_raised(raised: type[BaseException]):
    class Stopped(nn.GRUCell):
        def forward(self, x: Tensor, hx: Any = None) -> Any:
            if len(x) == 1:
                raise raised
            return super().forward(x, hx)

    model, x, errors = Stopped(5, 6), torch.randn(1, 5), []

    def copies() -> int:
        return sum(type(one) is Tensor and one.shape == x.shape and one is not x for one in gc.get_objects())

    before = copies()
    with watch(model) as seen:
        for _ in range(3):
            try:
                model(x)
            except raised as error:
                errors.append(error)  # its traceback holds the frames of the call
            assert copies() <= before + 1
        model(torch.randn(2, 5))
        assert copies() == before
    assert [one.answer for one in seen.check()] == ["agree"]
    _assert_no_hooks(model)


def test_calls_in_several_threads_at_once_are_each_their_own():
    """All are inside of `forward` before any of them returns."""
    together = threading.Barrier(6)

    class Waits(nn.GRU):
        def forward(self, x: Tensor, hx: Any = None) -> Any:
            together.wait(60)
            return super().forward(x, hx)

    model = Waits(5, 6)
    with watch(model) as seen:
        threads = [threading.Thread(target=model, args=(torch.randn(10 + i, 2, 5),)) for i in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert sorted(one.call.shape[0] for one in seen.check()) == list(range(10, 16))
    assert [(one.index, one.answer) for one in seen.check()] == [(index, "agree") for index in range(6)]
    _assert_no_hooks(model)


def test_a_call_that_returns_after_the_block_leaves_no_hook():
    begun, left = threading.Event(), threading.Event()

    class Waits(nn.GRU):
        def forward(self, x: Tensor, hx: Any = None) -> Any:
            begun.set()
            left.wait(60)
            return super().forward(x, hx)

    model = Waits(5, 6)
    thread = threading.Thread(target=model, args=(torch.randn(9, 2, 5),))
    with watch(model) as seen:
        thread.start()
        assert begun.wait(60)
    left.set()
    thread.join()
    assert not seen.calls
    _assert_no_hooks(model)


def test_a_hook_that_is_registered_inside_of_the_block_is_seen_by_the_next_call():
    """Two that watch one module both come behind it."""

    def added(_module: nn.Module, _given: Any, output: Any) -> Any:
        return output[0] + 0.01, output[1]

    model, x = nn.GRU(5, 6), torch.randn(9, 2, 5)
    with watch(model) as seen, watch(model) as other:
        model(x)
        hook = model.register_forward_hook(added)
        model(x)
        hook.remove()
        model(x)
    for one in (seen, other):
        assert [call.answer for call in one.check()] == ["agree", "differ", "agree"]
    _assert_no_hooks(model)


WITHOUT_RNNSPECT = """
import sys, torch
sys.modules["rnnspect"] = None  # any import of it fails
model, x = torch.load("model.pt", weights_only=False), torch.load("x.pt")
torch.save([model(x)[0].detach(), model(x, None)[0].detach()], "output.pt")
"""


def test_copies_that_are_made_inside_of_the_block_are_not_watched():
    model, x = nn.Sequential(nn.LSTM(5, 6)), torch.randn(12, 2, 5)
    with watch(model) as seen:
        output, _ = model(x)
        copies = [copy.deepcopy(model), torch.optim.swa_utils.AveragedModel(model).module]
        for one in (*copies, pickle.loads(pickle.dumps(model))):
            assert torch.equal(one(x)[0], output)
            hooks = [*one[0]._forward_hooks.values(), *one[0]._forward_pre_hooks.values()]
            assert "rnnspect" not in repr(hooks)
            with watch(one) as other:
                one(x)
            assert other.verdict == "agree"
        model(x)
    assert [one.answer for one in seen.check()] == ["agree", "agree"]
    assert len(copies[0][0]._forward_hooks) == 1
    assert rnnspect.check(copies[0], x, backward=True).verdict == "agree"
    _assert_no_hooks(model[0])


def test_a_copy_that_a_module_makes_of_itself_in_a_call_keeps_nothing_of_the_call():
    class Copied(nn.GRU):
        def forward(self, x: Tensor, hx: Any = None) -> Any:
            return copy.deepcopy(self).run(x, hx)

        def run(self, x: Tensor, hx: Any) -> Any:
            return super().forward(x, hx)

    model = Copied(5, 6)
    with watch(model) as seen:
        model(torch.randn(9, 2, 5))
    assert [one.answer for one in seen.check()] == ["agree"]


@pytest.mark.slow
def test_a_file_that_is_saved_inside_of_the_block_is_loaded_without_rnnspect(tmp_path: Path):
    model, x = nn.LSTM(5, 6), torch.randn(12, 2, 5)
    with watch(model):
        output, _ = model(x)
        torch.save(model, tmp_path / "model.pt")
    torch.save(x, tmp_path / "x.pt")
    subprocess.run([sys.executable, "-c", WITHOUT_RNNSPECT], check=True, cwd=tmp_path)
    assert all(torch.equal(one, output) for one in torch.load(tmp_path / "output.pt"))


def test_a_hook_that_is_registered_on_a_model_from_such_a_file_is_its_own(tmp_path: Path) -> None:
    """In a process of its own, in which torch's numbers of hooks begin anew."""
    module = nn.LSTM(3, 4)
    with watch(module):
        torch.save(module, tmp_path / "m.pt")
    code = (
        "import sys, torch\n"
        "m = torch.load(sys.argv[1], weights_only=False)\n"
        "m.register_forward_pre_hook(lambda module, args: print('seen'))\n"
        "m(torch.zeros(2, 1, 3))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m.pt"], capture_output=True, text=True, check=True)
    assert done.stdout == "seen\n"
