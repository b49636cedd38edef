"""One step of a GRU in numpy, with a mistake that is made often: r acts on h, before the product."""

import numpy as np


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    i_r, i_z, i_n = np.split(x_t @ weight_ih.T + bias_ih, 3, -1)
    w_r, w_z, w_n = np.split(weight_hh, 3)
    b_r, b_z, b_n = np.split(bias_hh, 3)
    r = sigmoid(i_r + h @ w_r.T + b_r)
    z = sigmoid(i_z + h @ w_z.T + b_z)
    n = np.tanh(i_n + (r * h) @ w_n.T + b_n)
    return n + z * (h - n)
