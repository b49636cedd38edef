from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.cli.options import formats, with_groups
from rnnspect.cli.output import Output

if TYPE_CHECKING:
    import typer


STARTER = """\
# yaml-language-server: $schema=rnnspect.schema.json
# (editors complete and check this file once `rnnspect schema -o rnnspect.schema.json` has written that file)
#
# What is left out takes the value shown here. Try it:  rnnspect trace THIS_FILE

cell: rnn             # rnn | lstm | gru
input_size: 5         # features of x at each step; never guessed from the input
hidden_size: 2        # units of each layer and direction
num_layers: 1         # stacked layers
# nonlinearity: tanh  # tanh | relu, for cell rnn only
bias: true            # whether there are b_ih and b_hh
batch_first: true     # batched x is (B, T, I); false: (T, B, I)
dropout: 0.0          # between layers; everything runs in eval mode, where it does nothing
bidirectional: false  # whether each layer also runs from the end to the start
proj_size: 0          # for cell lstm only: h is projected to this many units
dtype: float32        # float16 | bfloat16 | float32 | float64
device: cpu           # auto, or what torch.device takes
seed: 1               # parameters, then the head, then random x, h0 and c0 are drawn from it

input: ramp:3         # ramp:N ones:N zeros:N randn:N impulse:N sine:N, a file (x.npy, x.npz:name, x.csv …),
                      # or the numbers: [[1, 1, 1, 1, 1], [2, 2, 2, 2, 2]]

# batch: 4            # how many sequences a generator makes
# lengths: [3, 3, 2, 1]  # the length of each: a packed batch
# h0: randn           # the initial hidden state, written like input
# c0: zeros           # the initial cell state, for cell lstm only
# weights: model.pt   # a file with the parameters, or the numbers by name: {weight_ih_l0: [[…], […]], …}
# layout: keras       # how that file packs them, by the name in `rnnspect layouts`; left out: PyTorch
# head:
#   out_features: 1   # a Linear on the last layer's final hidden state
"""


def register(app: typer.Typer) -> None:
    app.command("init", epilog="Example:  rnnspect init -o net.yaml && rnnspect trace net.yaml")(init)


@with_groups(output=formats("yaml"))
def init(output: Output) -> None:
    """A commented spec file to start from."""
    shown = {"yaml": lambda _screen: STARTER}
    output.emit(shown)
