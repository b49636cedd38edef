"""Every layer of torchrecurrent, and our cell of it."""

from __future__ import annotations

from functools import partial

from rnnspect.cli.starting.cell import CELL as MGU
from tests.cells import loops
from tests.cells.recurrent import (
    antisymmetric,
    atr,
    br,
    cfn,
    cornn,
    fast,
    intersection,
    janet,
    lem,
    lightru,
    ligru,
    mclstm,
    minimalrnn,
    miru,
    multiplicative_lstm,
    mut,
    nas,
    original_lstm,
    peephole_lstm,
    ran,
    residual_lstm,
    scrn,
    sgrn,
    sgu,
    star,
    taugru,
    trnn,
    ugrnn,
    unicornn,
    wmclstm,
)
from tests.cells.recurrent.peer import Peer, example, indrnn_weights

_ANTISYMMETRIC = {"epsilon": antisymmetric.EPSILON, "gamma": antisymmetric.GAMMA}
_CORNN = {"dt": cornn.DT, "gamma": cornn.GAMMA, "epsilon": cornn.EPSILON}

TABLE: dict[str, Peer] = {
    "AntisymmetricRNN": Peer(
        antisymmetric.CELL,
        antisymmetric.loop,
        antisymmetric.weights,
        _ANTISYMMETRIC,
        differs="ε is 1 and γ is 0 by default, where the paper has a small step and some diffusion",
    ),
    "GatedAntisymmetricRNN": Peer(
        antisymmetric.GATED, antisymmetric.gated_loop, antisymmetric.gated_weights, _ANTISYMMETRIC
    ),
    "ATR": Peer(atr.CELL, atr.loop),
    "BR": Peer(br.CELL, br.loop, br.weights),
    "NBR": Peer(br.NBR, br.nbr_loop, br.nbr_weights),
    "CFN": Peer(cfn.CELL, cfn.loop, cfn.weights),
    "coRNN": Peer(cornn.CELL, cornn.loop, cornn.weights, _CORNN, scale=0.25),
    "DSGU": Peer(sgu.DSGU, partial(sgu.loop, True), sgu.dsgu_weights),
    "FastRNN": Peer(fast.FASTRNN, fast.fastrnn_loop, fast.fastrnn_weights),
    "FastGRNN": Peer(
        fast.FASTGRNN,
        fast.fastgrnn_loop,
        fast.fastgrnn_weights,
        {"nonlinearity": "sigmoid"},
        differs="the gate z is tanh by default, where the paper and its own docstring have σ",
    ),
    "IndRNN": Peer(example("indrnn"), loops.indrnn, indrnn_weights),
    "IntersectionRNN": Peer(intersection.CELL, intersection.loop, intersection.weights, scale=0.5),
    "JANET": Peer(janet.CELL, janet.loop, janet.weights, differs="β is trained, where the paper fixes it"),
    "LEM": Peer(
        lem.CELL,
        lem.loop,
        lem.weights,
        {"dt": lem.DT},
        differs="y sees the c of the step before, where the paper and its own docstring have the new one",
    ),
    "LiGRU": Peer(ligru.CELL, ligru.loop, differs="no batch normalisation of W_ih x"),
    "LightRU": Peer(lightru.CELL, lightru.loop, lightru.weights),
    "MCLSTM": Peer(mclstm.CELL, mclstm.loop),
    "MGU": Peer(MGU, loops.mgu),
    "MinimalRNN": Peer(minimalrnn.CELL, minimalrnn.loop, minimalrnn.weights),
    "MiRU1": Peer(miru.MIRU1, miru.loop_1, options={"update_coefficient": miru.KEPT}),
    "MiRU2": Peer(miru.MIRU2, miru.loop_2, options={"update_coefficient": miru.KEPT, "reset_coefficient": miru.RESET}),
    "MultiplicativeLSTM": Peer(multiplicative_lstm.CELL, multiplicative_lstm.loop, multiplicative_lstm.weights),
    "MUT1": Peer(mut.MUT1, partial(mut.loop, 1), mut.weights_1, differs="tanh(W x + b) where the paper has tanh(x)"),
    "MUT2": Peer(mut.MUT2, partial(mut.loop, 2), differs="W x + b in r, where the paper has x itself"),
    "MUT3": Peer(mut.MUT3, partial(mut.loop, 3)),
    "NAS": Peer(
        nas.CELL,
        nas.loop,
        differs="relu(W_i3 x + W_h3 h), where TensorFlow Addons has relu(W_i3 x ⊙ W_h3 h); its own docstring makes "
        "tanh(… + c) and does not use it",
    ),
    "OriginalLSTM": Peer(
        original_lstm.CELL,
        original_lstm.loop,
        differs="tanh where the paper has logistic functions scaled to ± 2 and ± 1",
    ),
    "PeepholeLSTM": Peer("lstm", peephole_lstm.loop, peephole_lstm.weights, spec={"peepholes": True}),
    "RAN": Peer(ran.CELL, ran.loop, ran.weights),
    "ResLSTM": Peer(residual_lstm.CELL, residual_lstm.loop, residual_lstm.weights),
    "SCRN": Peer(
        scrn.CELL,
        scrn.loop,
        scrn.weights,
        differs="the output y comes back at the next step, where the paper and its own docstring have the hidden "
        "layer; f is tanh, where the paper has softmax; 1 − α is rounded to float32 in a float64 layer, too",
    ),
    "SGU": Peer(sgu.SGU, partial(sgu.loop, False)),
    "SGRN": Peer(sgrn.CELL, sgrn.loop),
    "STAR": Peer(star.CELL, star.loop, lightru.weights),
    "tauGRU": Peer(taugru.CELL, taugru.loop),
    "TRNN": Peer(trnn.CELL, trnn.loop),
    "TGRU": Peer(trnn.TGRU, trnn.tgru_loop, trnn.tgru_weights),
    "TLSTM": Peer(trnn.TLSTM, trnn.tlstm_loop, trnn.tgru_weights),
    "UGRNN": Peer(ugrnn.CELL, ugrnn.loop),
    "UnICORNN": Peer(unicornn.CELL, unicornn.loop, unicornn.weights, {"dt": unicornn.DT, "alpha": unicornn.ALPHA}),
    "WMCLSTM": Peer(wmclstm.CELL, wmclstm.loop, wmclstm.weights),
}

NOT_WRITTEN: dict[str, str] = {}
"""Why not: what a cell of one's own cannot say. At the moment it can say all of them."""
