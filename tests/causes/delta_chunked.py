"""The gated delta rule a chunk of steps at once (Yang, Kautz & Hatamizadeh 2024, arXiv 2412.06464, section 3.3), in
torch and without a line of the package: right, and with the mistakes that people make in its decays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

HEADS, KEYS = 2, 4
SHIFTED = (
    "earlier",
    "earlier, the first its own",
    "later",
    "earlier in its chunk",
    "later in its chunk",
)
"""Each step has the decay of the one before it, the first none or its own; or of the one after it, the last its own; or
within each chunk, whose first or last step then has none."""
IN_WHAT_IS_READ = ("its own", "its own read", "its own taken off", "added", "itself", "added but its own")
"""Each step's own decay is missing in both products with the state before the chunk, or in one of them; or the matrix
of decays is of ones, or has the earlier step's decay as well."""
READ_AND_HANDED_ON = ("every", "added")
"""In what is subtracted from v the decays are right."""
HANDED_ON = ("its own", "every", "added", "itself", "added but its own", "all but the last chunk")
NAMED = {
    "added": "decay-left-out",
    "itself": "decay-own-step",
    "all but the last chunk": "chunk-state-lost",
    **dict.fromkeys(SHIFTED, "decay-shifted"),
}
"""The ids of their causes; of all others it is chunk-decay-apart."""


def shifted_logs(logs: Tensor, mistake: str, chunk: int) -> Tensor:
    """The logarithms of decays (…, T) as one of `SHIFTED` has them."""
    if mistake in ("earlier in its chunk", "later in its chunk"):
        each, none = logs.split(chunk, -1), torch.zeros_like(logs[..., :1])
        late = mistake == "later in its chunk"
        made = [torch.cat([one[..., 1:], none] if late else [none, one[..., :-1]], -1) for one in each]
        return torch.cat(made, -1)
    first = logs[..., :1]
    others = {
        "earlier": [torch.zeros_like(first), logs[..., :-1]],
        "earlier, the first its own": [first, logs[..., :-1]],
        "later": [logs[..., 1:], logs[..., -1:]],
    }
    return torch.cat(others.get(mistake, [logs]), -1)


def gated_delta(chunk: int, mistake: str = "", where: str = "read") -> Callable[..., Any]:
    """`where` the mistake is made: in what the steps of a chunk "read", or in what is "handed" on; or in "both". Or in
    "read and handed", but not in what the steps subtract, which is in "read"."""
    read, handed = (mistake if place in where or where == "both" else "" for place in ("read", "handed"))
    right_triangle = where == "read and handed"

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        wx = x @ parameters["weight_ih_l0"].T + parameters["bias_ih_l0"]
        q, k, v, b, g = wx.split([8, 8, wx.shape[-1] - 20, 2, 2], -1)
        q, k, v = (one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in (q, k, v))
        g = -parameters["A_log_l0"].exp() * softplus(g + parameters["dt_bias_l0"])
        g, b = g.transpose(1, 2), b.sigmoid().transpose(1, 2)[..., None]
        g_read, g_handed = (shifted_logs(g, one, chunk) for one in (read, handed))
        s, out = state[1][0].view(len(x), HEADS, KEYS, -1), []
        for start in range(0, x.shape[1], chunk):
            qs, ks, vs, bs = (one[:, :, start : start + chunk] for one in (q, k, v, b))
            logs = g_read[..., start : start + chunk]
            sums = logs.cumsum(-1)
            earlier = sums - logs
            apart = sums[..., :, None] - (earlier if read == "itself" else sums)[..., None, :]
            inside = (torch.zeros_like(apart) if read == "added" else apart).tril().exp().tril()
            if read == "added but its own":
                inside = (earlier[..., :, None] - sums[..., None, :]).tril(-1).exp().tril(-1) + torch.eye(
                    len(logs[0, 0])
                )
            taken, seen = (
                (earlier if read in ("its own", one) else sums).exp()[..., None]
                for one in ("its own taken off", "its own read")
            )
            seen = torch.ones_like(seen) if read == "every" else seen
            between = apart.tril().exp().tril() if right_triangle else inside
            among = torch.eye(qs.shape[2], dtype=x.dtype) + ((ks * bs) @ ks.mT * between).tril(-1)
            left, right = (
                one if x.dtype == torch.float64 else one.float() for one in (among, bs * vs - (bs * ks * taken) @ s)
            )
            new = torch.linalg.solve_triangular(left, right, upper=False).to(x)
            out.append(((qs * seen) @ s + (qs @ ks.mT * inside) @ new) * KEYS**-0.5)
            logs = g_handed[..., start : start + chunk]
            sums = logs.cumsum(-1)
            earlier = sums - logs
            left = (sums[..., -1:] - (earlier if handed == "itself" else sums)).exp()
            if handed == "added but its own":
                left = (earlier[..., -1:] - sums).exp()
                left[..., -1] = 1
            left = torch.ones_like(left) if handed == "added" else left
            whole = {"its own": earlier, "every": 0 * sums, "all but the last chunk": -torch.inf + sums}
            kept = whole.get(handed, sums)[..., -1].exp()[..., None, None] * s
            s = kept + (ks * left[..., None]).mT @ new
            if handed == "nonsense":
                s = s + 0.3 * (7.0 * torch.arange(s.numel())).sin().view_as(s)
        output = torch.cat(out, 2).transpose(1, 2).flatten(2)
        return output, (output[:, -1][None], s.flatten(1)[None])

    return run
