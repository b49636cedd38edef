"""How each target runs a converted file in a process that does not know rnnspect: lines of Python that follow the ones
that `convert` shows. They take x (B, T, I), h0 and c0 (L·D, B, H) as `torch.nn` does and leave output (B, T, D·H), h_n
and c_n in `found`; the number of directions is D.
"""

from __future__ import annotations

SESSION = """
given = {"x": x, "h0": h0} | ({"c0": c0} if lstm else {})
found = session.run(None, given)
"""

TORCH = """
import torch
states = [torch.from_numpy(s) for s in ([h0, c0] if lstm else [h0])]
with torch.no_grad():
    output, final = model(torch.from_numpy(x), tuple(states) if lstm else states[0])
found = [v.numpy() for v in (output, *(final if lstm else [final]))]
"""

KERAS = """
import numpy
whole = keras.ops.convert_to_numpy(model(x))
units, ends = keras.ops.convert_to_tensor(x), [[], []]
for at, layer in enumerate(model.layers):
    for one in (layer, *([layer.forward_layer, layer.backward_layer] if D == 2 else [])):
        one.return_state = True
    rows = range(at * D, at * D + D)
    units, *final = layer(units, initial_state=[s[r] for r in rows for s in ([h0, c0] if lstm else [h0])])
    for i, one in enumerate(final):
        ends[i % (1 + lstm)].append(keras.ops.convert_to_numpy(one))
found = [keras.ops.convert_to_numpy(units), *(numpy.stack(e) for e in ends[: 1 + lstm])]
"""

FLAX = """
import numpy
whole = numpy.asarray(model(x))
units, ends = x, [[], []]
for at, layer in enumerate(model.layers):
    start = [(c0[r], h0[r]) if lstm else h0[r] for r in range(at * D, at * D + D)]
    carry, units = layer(units, initial_carry=tuple(start) if D == 2 else start[0], return_carry=True)
    for one in carry if D == 2 else [carry]:
        for i, values in enumerate(one[::-1] if lstm else [one]):
            ends[i].append(numpy.asarray(values))
found = [numpy.asarray(units), *(numpy.stack(e) for e in ends[: 1 + lstm])]
"""

LOADERS = {"onnx": SESSION, "pytorch": TORCH, "keras": KERAS, "flax": FLAX, "flax-linen": FLAX}
NEEDS = {
    "onnx": "onnxruntime",
    "pytorch": "torch",
    "keras": "keras",
    "flax": "flax",
    "flax-linen": "flax",
}
SUFFIXES = {
    "onnx": ".onnx",
    "pytorch": ".safetensors",
    "keras": ".weights.h5",
    "flax": ".msgpack",
    "flax-linen": ".msgpack",
}
