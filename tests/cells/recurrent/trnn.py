"""The strongly typed RNN, GRU and LSTM (Balduzzi & Ghifary 2016, arXiv 1602.02218): no gate sees h."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.recurrent.peer import Step, Weights, placed


def trnn(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = W_in x + b_in
    f  = σ(W_if x + b_if)
    h' = f ⊙ h + (1 − f) ⊙ n
    """
    n, x_f = a.split(wx)
    f = a.sigmoid(x_f)
    return {"n": n, "f": f, "h": a.lerp(n, h, f)}


CELL = Cell("trnn", "", ("n", "f"), ("h",), ("n", "f", "h"), ("sigmoid",), trnn, is_recurrent=False)


def tgru(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """
    n  = W_in x + b_in + W_hn c + b_hn
    f  = σ(W_if x + b_if + W_hf c + b_hf)
    o  = tanh(W_io x + b_io + W_ho c + b_ho)
    c' = W_iv x                                      W_iv is 1: c is x of the step before
    h' = f ⊙ h + n ⊙ o
    """
    x_n, x_f, x_o, v = a.split(wx)
    c_n, c_f, c_o, _ = a.split(a.hidden(c))
    n, f, o = x_n + c_n, a.sigmoid(x_f + c_f), a.tanh(x_o + c_o)
    return {"n": n, "f": f, "o": o, "v": v, "c": v, "h": f * h + n * o}


TGRU = Cell(
    name="tgru",
    torch_name="",
    gates=("n", "f", "o", "v"),
    states=("h", "c"),
    quantities=("n", "f", "o", "v", "c", "h"),
    functions=("sigmoid", "tanh"),
    step=tgru,
    mixes=True,
)


def tlstm(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    """
    n  = W_in x + b_in + W_hn p + b_hn
    f  = σ(W_if x + b_if + W_hf p + b_hf)
    o  = tanh(W_io x + b_io + W_ho p + b_ho)
    c' = f ⊙ c + (1 − f) ⊙ n
    p' = W_iv x                                      W_iv is 1: p is x of the step before
    h' = c' ⊙ o
    """
    c, p = a.blocks(c)
    x_n, x_f, x_o, v = a.split(wx)
    p_n, p_f, p_o, _ = a.split(a.hidden(p))
    n, f, o = x_n + p_n, a.sigmoid(x_f + p_f), a.tanh(x_o + p_o)
    c = a.lerp(n, c, f)
    return {"n": n, "f": f, "o": o, "v": v, "c": a.packed(c, v), "h": c * o}


TLSTM = replace(TGRU, name="tlstm", step=tlstm, cell_state=(("c", ("hidden_size",)), ("p", ("hidden_size",))))


def tgru_weights(theirs: Weights) -> Weights:
    own = {name: placed(one, 3, (0, 1, 2, None)) for name, one in theirs.items()}
    own["weight_ih"][-theirs["weight_ih"].shape[1] :].fill_diagonal_(1)
    return own


def tgru_loop(wrong: bool) -> Step:
    """The mistake: 1 − f, as in the RNN and the LSTM, in front of n."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (h, before), x = state, x_t @ weight_ih.T + bias_ih
        n, f, o, _ = (x + before @ weight_hh.T + bias_hh).chunk(4, -1)
        f = torch.sigmoid(f)
        return f * h + ((1 - f) * n if wrong else n) * torch.tanh(o), x.chunk(4, -1)[3]

    return step


def tlstm_loop(wrong: bool) -> Step:
    """The mistake: no 1 − f."""

    def step(
        x_t: Tensor,
        state: tuple[Tensor, Tensor],
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (c, before), x = state[1].chunk(2, -1), x_t @ weight_ih.T + bias_ih
        n, f, o, _ = (x + before @ weight_hh.T + bias_hh).chunk(4, -1)
        f = torch.sigmoid(f)
        c = f * c + (n if wrong else (1 - f) * n)
        return c * torch.tanh(o), torch.cat([c, x.chunk(4, -1)[3]], -1)

    return step


def loop(wrong: bool) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        n, f = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        f = torch.sigmoid(f)
        return (1 - f) * h + f * n if wrong else f * h + (1 - f) * n

    return step
