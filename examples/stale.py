"""A GRU whose port has other weights than model.pt: writes what the port gives for x.npy to one.npy and adapter.npy."""

import copy

import numpy as np
import torch

torch.manual_seed(0)
gru = torch.nn.GRU(6, 8)
torch.save(gru.state_dict(), "model.pt")
x = torch.randn(400, 6)
np.save("x.npy", x)

one = copy.deepcopy(gru)  # a single weight is 1 % larger
one.weight_hh_l0.data[19, 2] *= 1.01
np.save("one.npy", one(x)[0].detach())

adapter = copy.deepcopy(gru)  # fine-tuned by an adapter of rank 2, which model.pt was saved without
adapter.weight_ih_l0.data += 0.02 * torch.randn(24, 2) @ torch.randn(2, 6)
adapter.weight_hh_l0.data += 0.02 * torch.randn(24, 2) @ torch.randn(2, 8)
np.save("adapter.npy", adapter(x)[0].detach())
