"""The probability that roundings alone correlate so well with the column of a parameter.

For n independent numbers of one size, the square of their correlation with a given column is distributed as Beta(½, (n
− 1)/2). For numbers of any sizes r, each as likely to be negative as positive, Σ a r ≥ z √Σ (a r)² has a probability of
at most exp(−z²/2) for a column a (Efron, Journal of the American Statistical Association 64, 1969). The smaller of the
two probabilities counts.

Roundings that repeat are not independent. A step that begins as an earlier one did is left out; and the correlation of
what the fit leaves, from step to step, tells how dependent the others are (Bartlett, Journal of the Royal Statistical
Society 98, 1935).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINS = 1024
"""Two numbers count as the same if they differ by less than the largest one divided by this."""
_LAGS = 64


def first_of_each(*values: Tensor) -> Tensor:
    """The places of the rows (n, ·) that are not equal, bit for bit, to a row before them, in their order."""
    key = torch.zeros(len(values[0]), dtype=torch.int64)
    for at, of in enumerate(values):
        bits = of.double().contiguous().view(torch.int64)
        spread = torch.arange(1, bits.shape[1] + 1, dtype=torch.int64) * 0x9E3779B97F4A7C1 + at
        key = key * 31 + (bits ^ (bits >> 29)).mul(spread | 1).sum(1)
    order = torch.argsort(key, stable=True)
    new = torch.ones(len(key), dtype=torch.bool)
    new[1:] = key[order][1:] != key[order][:-1]
    return order[new].sort().values


def that_count(column: Tensor, r: Tensor) -> float:
    """How many of the rows (n,) count as evidence: the number over which the squares are spread, (Σ v²)² / Σ v⁴, of the
    column and of the residual; but no more than there are different values."""
    parts = [of / of.abs().max().clamp(min=1e-300) for of in (column, r)]
    squares = [of.square() for of in parts]
    spread = [float(of.sum() ** 2 / of.square().sum().clamp(min=1e-300)) for of in squares]
    a, b = (of.mul(BINS).round_().to(torch.int32) for of in parts)
    return min(*spread, float(len(torch.unique(a.mul_(4 * BINS).add_(b)))))


def independent(left: Tensor, column: Tensor, items: Tensor) -> float:
    """To how many independent numbers n the residuals are equivalent. `left` is what the fit leaves, (n,), in the order
    of steps; `items` is the batch item of each."""
    n = len(left)
    order = torch.argsort(items, stable=True)
    a, e, of = (one[order] for one in (column, left, items))
    a, e = a / a.norm().clamp(min=1e-300), e / e.norm().clamp(min=1e-300)
    total = 1.0
    for lag in range(1, min(_LAGS, n // 4) + 1):
        same = of[lag:] == of[:-lag]
        together = float((e[lag:] * e[:-lag])[same].sum()) * float((a[lag:] * a[:-lag])[same].sum())
        if together <= 2 / n:
            break
        total += 2 * together
    return n / total


def log10_chance_of_signs(column: Tensor, r: Tensor, share: float, candidates: int) -> float:
    """As `log10_chance`, from the signs of r alone, of which this share is independent."""
    each = column / column.abs().max().clamp(min=1e-300) * (r / r.abs().max().clamp(min=1e-300))
    z2 = float(each.sum()) ** 2 / max(float(each.square().sum()), 1e-300) * share
    return min(0.0, math.log10(2 * candidates) - z2 / 2 / math.log(10))


def log10_chance(explained: float, n: float, candidates: int) -> float:
    """log₁₀ of an upper limit of the probability that one of so many columns explains this share of the squares of n
    independent numbers by chance."""
    if n <= 2 or explained <= 0:
        return 0.0
    left = max(1 - explained, 1e-30)
    half = (n - 1) / 2
    beta = math.lgamma(0.5) + math.lgamma(half) - math.lgamma(half + 0.5)
    log = half * math.log(left) - 0.5 * math.log(explained) - math.log(half) - beta + math.log(candidates)
    return min(0.0, log / math.log(10))
