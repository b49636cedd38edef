"""Losses: their value and dL/d output against autograd, and what is said of one that does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rnnspect import FileError, SequenceError, Spec
from rnnspect.network.losses import loss_of
from rnnspect.network.sequence import Sequence
from rnnspect.tracing.prepare import prepare

LENGTHS = (4, 1, 3)
SPEC = Spec(cell="gru", hidden_size=2, bidirectional=True, batch_first=False, dtype="float64", lengths=[*LENGTHS])
CLOSE = 1e-14
"""Of sums of 48 numbers near 1, each rounded by 1e-16."""


def sequence() -> Sequence:
    return prepare(SPEC, torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))).sequence


def output() -> torch.Tensor:
    y = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for item, length in enumerate(LENGTHS):
        y[length:, item] = 0
    return y.requires_grad_()


def inside(y: torch.Tensor) -> torch.Tensor:
    return torch.cat([y[:length, item] for item, length in enumerate(LENGTHS)])


TARGET = np.arange(48.0).reshape(4, 3, 4) / 7
BY_HAND = {
    "sum": lambda y: inside(y).sum(),
    "mean": lambda y: inside(y).mean(),
    "last": lambda y: sum(y[length - 1, item].sum() for item, length in enumerate(LENGTHS)),
    "given": lambda y: (inside(y) * inside(torch.from_numpy(TARGET))).sum(),
    "mse": lambda y: ((inside(y) - inside(torch.from_numpy(TARGET))) ** 2).mean(),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_the_gradient_is_that_of_autograd(kind: str, tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", TARGET)
    word = {"given": f"{tmp_path / 'y.npy'}", "mse": f"mse:{tmp_path / 'y.npy'}"}.get(kind, kind)
    y = output()
    wanted = BY_HAND[kind](y)
    wanted.backward()
    found = loss_of(word, SPEC, sequence(), "--loss")
    value, upstream = found.of(y.detach(), sequence())
    assert found.kind == kind
    assert value == pytest.approx(float(wanted.detach()), abs=1e-12)
    assert float((upstream.output - y.grad).abs().max()) <= CLOSE


def test_the_gradients_of_final_states_may_be_drawn_too() -> None:
    spec = Spec(cell="lstm", hidden_size=2, num_layers=2)
    run = prepare(spec, "randn:4").sequence
    y, finals = torch.randn(4, 1, 2), {name: torch.randn(2, 1, 2) for name in ("h_n", "c_n")}
    plain, _ = loss_of("drawn", spec, run, "--loss").of(y, run, finals)
    value, upstream = loss_of("drawn:h_n, c_n", spec, run, "--loss").of(y, run, finals)
    assert upstream.h_n is not None
    assert upstream.c_n is not None
    assert not torch.equal(upstream.h_n, upstream.c_n)
    both = (upstream.h_n * finals["h_n"]).sum() + (upstream.c_n * finals["c_n"]).sum()
    assert value == pytest.approx(plain + float(both), rel=1e-5)  # float32 sums of a few numbers
    alone = loss_of("drawn:c_n", spec, run, "--loss").of(y, run)[1]
    assert alone.h_n is None
    assert alone.c_n is not None
    assert torch.equal(alone.c_n, upstream.c_n)
    with pytest.raises(SequenceError, match="no final state 'c_m'; expected h_n, c_n; did you mean 'c_n'"):
        loss_of("drawn:h_n,c_m", spec, run, "--loss")
    with pytest.raises(SequenceError, match="no final state 'c_n'; expected h_n"):
        loss_of("drawn:c_n", spec.with_changes(cell="gru"), run, "--loss")


def test_nan_in_the_padding_counts_nowhere() -> None:
    y, given = output().detach(), TARGET.copy()
    y[3, 1], given[3, 1] = torch.nan, np.nan
    for loss in ("sum", given):
        value, upstream = loss_of(loss, SPEC, sequence(), "loss").of(y, sequence())
        assert value == value
        assert bool(upstream.output.isfinite().all())


@pytest.mark.parametrize("batch_first", [True, False])
def test_an_array_has_the_axes_of_the_output(batch_first: bool) -> None:
    spec = SPEC.with_changes(batch_first=batch_first)
    given = TARGET.swapaxes(0, 1) if batch_first else TARGET
    found = loss_of(given, spec, sequence(), "loss")
    assert found.values is not None
    assert torch.equal(found.values, torch.from_numpy(TARGET))
    wrong = given[:1]
    axes = r"\(batch, step, unit\) = \(3, 4, 4\)" if batch_first else r"\(step, batch, unit\) = \(4, 3, 4\)"
    with pytest.raises(SequenceError, match=rf"dL/d output has the shape .*; expected that of the output, {axes}"):
        loss_of(wrong, spec, sequence(), "loss")


def test_an_input_without_a_batch_has_a_loss_without_one() -> None:
    spec = Spec(hidden_size=2)
    run = prepare(spec, "randn:3").sequence
    assert loss_of([[1, 2], [3, 4], [5, 6]], spec, run, "loss").values.shape == (3, 1, 2)
    assert loss_of([[[1, 2], [3, 4], [5, 6]]], spec, run, "loss").values.shape == (3, 1, 2)  # a batch of one
    for wrong in ([[[1, 2], [3, 4]]], [[1, 2]], [[[1, 2], [3, 4], [5, 6]]] * 2):
        with pytest.raises(SequenceError, match=r"\(step, unit\) = \(3, 2\)"):
            loss_of(wrong, spec, run, "loss")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("summ", "there is no loss or file 'summ'; expected sum, mean, last, .* did you mean 'sum'"),
        ("randn:3", "'randn:3' is a generator, and no loss"),
        ("mse:ones:3", "'ones:3' is a generator, and no loss"),
        ("mse:", "there is no file with the target"),
    ],
)
def test_another_word_is_refused(word: str, said: str) -> None:
    with pytest.raises(SequenceError, match=said):
        loss_of(word, SPEC, sequence(), "--loss")


@pytest.mark.parametrize(("given", "kind"), [(lambda y: y.sum(), "function"), (torch.nn.MSELoss(), "MSELoss")])
def test_a_function_is_told_what_a_loss_may_be(given: object, kind: str) -> None:
    with pytest.raises(SequenceError, match=rf"loss: a loss cannot be a {kind}; expected an array of dL/d output, or"):
        loss_of(given, SPEC, sequence(), "loss")


@pytest.mark.parametrize("word", ["{}", "mse:{}"])
@pytest.mark.parametrize(("odd", "kind"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_a_loss_that_is_not_finite_is_refused(word: str, odd: float, kind: str, tmp_path: Path) -> None:
    given, name = TARGET.copy(), "the target" if ":" in word else "dL/d output"
    given[2, 0, 3], given[3, 1, 0] = odd, np.nan  # the second one is beyond its item's length
    np.save(tmp_path / "y.npy", given)
    with pytest.raises(
        SequenceError, match=f"--loss: {name} contains {kind} at step 2, batch item 0, unit 3; expected"
    ):
        loss_of(word.format(tmp_path / "y.npy"), SPEC, sequence(), "--loss")


def test_a_missing_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00")
    for name in ("there-is-none.npy", "bad.npy"):
        for word in (f"{tmp_path / name}", f"mse:{tmp_path / name}"):
            with pytest.raises(FileError, match=f"^--loss: {tmp_path / name}: "):
                loss_of(word, SPEC, sequence(), "--loss")


@pytest.mark.parametrize("names", [("output", "h_n"), ("h_n",), ("output",)])
def test_what_went_in_is_read_of_a_recording_of_gradients(names: tuple[str, ...], tmp_path: Path) -> None:
    """What it does not have is zero."""
    shapes = {"output": (4, 3, 4), "h_n": (2, 3, 2)}
    given = {f"grad.{name}": np.full(shapes[name], 3.0) for name in names}
    np.savez(tmp_path / "run.npz", **given, **{"grad.x": np.ones((4, 3, 5))})
    loss = loss_of(str(tmp_path / "run.npz"), SPEC, sequence(), "loss")
    y = output().detach()
    value, upstream = loss.of(y, sequence(), {"h_n": torch.ones(2, 3, 2)})
    assert value == pytest.approx(
        sum({"output": 3 * float(inside(y).sum()), "h_n": 36.0}[name] for name in names), rel=CLOSE
    )
    assert bool((inside(upstream.output) == 3.0 * ("output" in names)).all())
    assert (upstream.h_n is not None) == ("h_n" in names)


def test_a_final_state_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "run.npz", **{"grad.h_n": np.ones((2, 2, 3))})
    with pytest.raises(SequenceError, match=r"grad\.h_n has the shape \(2, 2, 3\); expected that of h_n, \(2, 3, 2\)"):
        loss_of(str(tmp_path / "run.npz"), SPEC, sequence(), "loss")
