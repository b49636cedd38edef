"""Modules that torch.ao.quantization.quantize_dynamic made, under the names of torch.nn: their matrices are packed, and
lie where the pickle of the packing has them.

Sources: torch/ao/nn/quantized/dynamic/modules/rnn.py; aten/src/ATen/native/RNN.cpp, the states of
QuantizedCellParamsDynamic and QuantizedCellParamsFP16.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from rnnspect.files.pickled import PickledModule
from rnnspect.files.reading import Stored, Tensors
from rnnspect.network.parameters import suffix

_CELL_OF_STACK = re.compile(
    r"(?P<module>.*?)_all_weight_values\.(?P<at>\d{1,4})\.param\.(?:0\.)?"
    r"(?:1\.(?P<bias>[01])|4\.(?P<matrix>[01])\.(?:0\.)*?(?P<part>[01]))"
)
"""Of the state of a cell's parameters its second part has the biases of 8 bits, the fifth both matrices, each perhaps
with its bias."""
_CELL = re.compile(r"(?P<module>.*?)_packed_weight_(?P<side>ih|hh)\.(?:0\.)?(?P<part>[01])")
_SIDES, _PARTS = ("ih", "hh"), ("weight", "bias")
NOTE = "holds quantised weights, which are read as the numbers that they stand for"
INTEGERS = "; that the framework quantises x and h as well, as it runs, is not in the equations"


def renamed(tensors: Tensors, modules: Mapping[str, PickledModule]) -> Tensors | None:
    """The tensors under PyTorch's names, where such modules are among them."""
    stacks: dict[str, dict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    found: dict[str, str] = {}
    for name in tensors.stored:
        if (match := _CELL_OF_STACK.fullmatch(name)) is not None:
            alone = match["part"] is None
            side, part = (match["bias"], 1) if alone else (match["matrix"], int(match["part"]))
            stacks[match["module"]][int(match["at"])].setdefault(f"{_PARTS[part]}_{_SIDES[int(side)]}", name)
        elif (match := _CELL.fullmatch(name)) is not None:
            found.setdefault(f"{match['module']}{_PARTS[int(match['part'])]}_{match['side']}", name)
    for module, cells in stacks.items():
        ways = _directions(cells, tensors.stored, modules.get(module.removesuffix(".")))
        for at, parts in cells.items():
            end = suffix(at // ways, "reverse" if at % ways else "forward")
            found |= {f"{module}{part}{end}": name for part, name in parts.items()}
    if not found:
        return None
    packed = set(found.values())
    # Modules of cells keep biases that they never use, beside the packed ones of the same name.
    return tensors.under({name: name for name in tensors.stored if name not in packed} | found)


def _directions(
    cells: Mapping[int, Mapping[str, str]], stored: Mapping[str, Stored], module: PickledModule | None
) -> int:
    """As the module says; else by the sizes: the second cell takes x where it is another direction. Where x is as wide
    as h and there are two cells, they are taken for two layers."""
    if module is not None and isinstance(said := module.attributes.get("bidirectional"), bool):
        return 2 if said else 1
    wide = {}
    for at, parts in cells.items():
        of_x, of_h = (stored[parts[name]].shape if name in parts else () for name in ("weight_ih", "weight_hh"))
        if len(of_x) == len(of_h) == 2:
            wide[at] = of_x[1], of_h[1]
    if 0 not in wide or 1 not in wide or wide[0][0] != wide[1][0]:
        return 1
    given, hidden = wide[0]
    return 2 if given != hidden or wide.get(2, (0, 0))[0] == 2 * hidden else 1
