"""The intersection RNN, +RNN (Collins, Sohl-Dickstein & Sussillo 2017, arXiv 1611.09913): h is the output, which
nothing sees at the next step, and c what is carried. The output is as wide as x, which stands here as the gate v,
whose W_ih is 1."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def intersection(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    y  = relu(W_iy x + b_iy + W_hy c + b_hy)
    n  = tanh(W_in x + b_in + W_hn c + b_hn)
    p  = σ(W_ip x + b_ip + W_hp c + b_hp)
    q  = σ(W_iq x + b_iq + W_hq c + b_hq)
    c' = q ⊙ c + (1 − q) ⊙ n
    v  = x
    h' = p ⊙ v + (1 − p) ⊙ y
    """
    s_y, s_n, s_p, s_q, v = a.gates(wx, c)
    y, n, p, q = a.relu(s_y), a.tanh(s_n), a.sigmoid(s_p), a.sigmoid(s_q)
    return {"y": y, "n": n, "p": p, "q": q, "v": v, "c": a.lerp(n, c, q), "h": a.lerp(y, v, p)}


CELL = Cell(
    name="intersection",
    torch_name="",
    gates=("y", "n", "p", "q", "v"),
    states=("h", "c"),
    quantities=("y", "n", "p", "q", "v", "c", "h"),
    functions=("sigmoid", "tanh", "relu"),
    step=intersection,
    mixes=True,
)


def weights(theirs: Weights) -> Weights:
    own = {name: placed(one, 4, (0, 1, 2, 3, None)) for name, one in theirs.items()}
    size = theirs["weight_hh"].shape[1]
    own["weight_ih"][4 * size :] = torch.eye(size)
    return own


def loop(wrong: bool) -> Step:
    """The mistake: the two gates exchanged."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        _, c = state
        y, n, p, q, x = (x_t @ weight_ih.T + bias_ih + c @ weight_hh.T + bias_hh).chunk(5, -1)
        p, q = torch.sigmoid(q if wrong else p), torch.sigmoid(p if wrong else q)
        return p * x + (1 - p) * torch.relu(y), q * c + (1 - q) * torch.tanh(n)

    return step
