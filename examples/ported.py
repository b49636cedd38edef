"""An LSTM ported to numpy with two mistakes: it reads the gates as i f o g, which PyTorch packs as i f g o, and it has
no b_hh. Writes the weights to model.pt, an input to x.npy and what the port gives for it to y.npy."""

import numpy as np
import torch

torch.manual_seed(1)
module = torch.nn.LSTM(3, 4, batch_first=True)
torch.save(module.state_dict(), "model.pt")
W, U, b = (getattr(module, name).detach().numpy() for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"))


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def lstm(x):
    h = c = np.zeros(4, np.float32)
    for x_t in x:
        i, f, o, g = np.split(W @ x_t + U @ h + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        yield h


x = torch.randn(20, 3).numpy()
np.save("x.npy", x)
np.save("y.npy", np.array(list(lstm(x))))
