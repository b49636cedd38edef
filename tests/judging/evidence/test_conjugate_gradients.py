"""Least squares without a matrix of products: the solution, and how exactly each number of it is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnnspect.judging.evidence.conjugate_gradients import solved

ROWS, COUNT = 400, 30


def problem() -> tuple[Tensor, Tensor]:
    """A matrix with columns of many lengths, some of which are nearly the same; and what is to be explained."""
    torch.manual_seed(0)
    matrix = torch.randn(ROWS, COUNT, dtype=torch.float64) * torch.logspace(-2, 2, COUNT, dtype=torch.float64)
    matrix[:, 3] = matrix[:, 2] + 0.01 * matrix[:, 3]
    return matrix, matrix @ torch.randn(COUNT, dtype=torch.float64) + torch.randn(ROWS, dtype=torch.float64)


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_the_solution_is_that_of_the_normal_equations(damping: float) -> None:
    matrix, r = problem()
    gram = matrix.t() @ matrix
    lengths = gram.diagonal()
    found, _ = solved(
        lambda v: gram @ v, lambda g: g / lengths, matrix.t() @ r, damping, (float(r.square().sum()), ROWS)
    )
    exact = torch.linalg.solve(gram + damping * torch.diag(lengths), matrix.t() @ r)
    errors = torch.linalg.inv(gram).diagonal().sqrt()  # what is left has a size of 1
    assert float(((found - exact) / errors).abs().max()) < 0.05  # it ends where a step gains 1e-5 of a number's square


def test_the_way_there_tells_the_errors() -> None:
    matrix, _ = problem()
    gram = matrix.t() @ matrix
    lengths = gram.diagonal()
    signs = torch.randint(2, (ROWS,)) * 2.0 - 1
    _, taken = solved(lambda v: gram @ v, lambda g: g / lengths, matrix.t() @ signs.double(), 0.0, (ROWS, ROWS))
    ratio = (1 / lengths + taken.correction()) / torch.linalg.inv(gram).diagonal()
    assert float(ratio.min()) > 0.7
    assert float(ratio.max()) < 1.4


def test_what_has_no_effect_stays() -> None:
    matrix, r = problem()
    matrix[:, 7] = 0
    gram = matrix.t() @ matrix
    lengths = gram.diagonal().clamp(min=1e-9)
    found, _ = solved(lambda v: gram @ v, lambda g: g / lengths, matrix.t() @ r, 0.0, (float(r.square().sum()), ROWS))
    assert float(found[7]) == 0
