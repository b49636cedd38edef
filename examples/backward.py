"""Backpropagation through time of an RNN in numpy, with a mistake that is made often: W_hh where W_hhᵀ is meant."""

import numpy as np


def backward(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0):
    before = [h0[0]]
    for x_t in x.swapaxes(0, 1):
        before.append(np.tanh(x_t @ weight_ih_l0.T + bias_ih_l0 + before[-1] @ weight_hh_l0.T + bias_hh_l0))
    dx, dw_ih, dw_hh, db = (np.zeros_like(one) for one in (x, weight_ih_l0, weight_hh_l0, bias_ih_l0))
    dh = np.zeros_like(h0[0])
    for t in reversed(range(x.shape[1])):
        ds = (grad_output[:, t] + dh) * (1 - before[t + 1] ** 2)
        dx[:, t], dh = ds @ weight_ih_l0, ds @ weight_hh_l0.T
        dw_ih, dw_hh, db = dw_ih + ds.T @ x[:, t], dw_hh + ds.T @ before[t], db + ds.sum(0)
    return {"x": dx, "weight_ih_l0": dw_ih, "weight_hh_l0": dw_hh, "bias_ih_l0": db, "bias_hh_l0": db}
