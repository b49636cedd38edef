"""Backpropagation through time of an LSTM in numpy, a line for each gate. Its equations are

    i, f, o = σ(s_i), σ(s_f), σ(s_o);  g = tanh(s_g);  s = W_ih x + b_ih + W_hh h + b_hh
    c' = f ⊙ c + i ⊙ g;  h' = o ⊙ tanh(c')

The gates are packed in PyTorch's order, i f g o. dh is dL/dh, ds_i is dL/ds_i, and so on.
"""

import numpy as np


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def forward(x, h, c, w_ih, w_hh, bias):
    """What each step computes and the way back needs: x, the h and c before it, its gates and its new c."""
    for x_t in x.swapaxes(0, 1):
        s_i, s_f, s_g, s_o = np.split(x_t @ w_ih.T + h @ w_hh.T + bias, 4, -1)
        i, f, g, o = sigmoid(s_i), sigmoid(s_f), np.tanh(s_g), sigmoid(s_o)
        new_c = f * c + i * g
        yield x_t, h, c, i, f, g, o, new_c
        h, c = o * np.tanh(new_c), new_c


def backward(grad_output, x, h0, c0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0):
    """dL/d of each argument. x is (batch, step, feature); grad_output, (batch, step, unit), is dL/d output."""
    steps = list(forward(x, h0[0], c0[0], weight_ih_l0, weight_hh_l0, bias_ih_l0 + bias_hh_l0))
    dx, dw_ih, dw_hh, db = (np.zeros_like(one) for one in (x, weight_ih_l0, weight_hh_l0, bias_ih_l0))
    dh, dc = np.zeros_like(h0[0]), np.zeros_like(c0[0])  # what comes back from the next step: nothing, at the last
    for t in reversed(range(len(steps))):
        x_t, h, c, i, f, g, o, new_c = steps[t]
        dh = dh + grad_output[:, t]
        dc = dc + dh * o * (1 - np.tanh(new_c) ** 2)
        ds_i = dc * g * i * (1 - i)
        ds_f = dc * c * f * (1 - f)
        ds_g = dc * i * (1 - g**2)
        ds_o = dh * np.tanh(new_c) * o * (1 - o)
        ds = np.concatenate([ds_i, ds_f, ds_g, ds_o], -1)
        dw_ih, dw_hh, db = dw_ih + ds.T @ x_t, dw_hh + ds.T @ h, db + ds.sum(0)
        dx[:, t], dh, dc = ds @ weight_ih_l0, ds @ weight_hh_l0, dc * f
    parameters = {"weight_ih_l0": dw_ih, "weight_hh_l0": dw_hh, "bias_ih_l0": db, "bias_hh_l0": db}
    return {"x": dx, "h0": dh[None], "c0": dc[None]} | parameters
