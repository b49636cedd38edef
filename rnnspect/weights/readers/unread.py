"""Formats that cannot be read: what such a file is, and how to get its arrays out."""

from __future__ import annotations

import shlex
import struct

from rnnspect.errors import FileError
from rnnspect.files.first_bytes import Glimpse

_NPY = b"\x93NUMPY"
_SAVE = "then numpy.savez('weights.npz', **arrays)"
_BEGINS = (
    (b"GGUF", "a GGUF file", f"read its arrays with gguf.GGUFReader(file).tensors, {_SAVE}"),
    (
        b"\x12\x01\x00\x00\x00\x00\x00\x00",
        "an MXNet parameter file",
        f"read its arrays with mxnet.nd.load(file), {_SAVE}",
    ),
    (_NPY, "one array (.npy), without a network", "give it as --input or --recorded, beside a spec or a weights file"),
    (b"MATLAB 5.0", "a MATLAB file", f"read its arrays with scipy.io.loadmat(file), {_SAVE}"),
    (b"\x00B<Nnet3>", "a Kaldi network", "write its numbers as text with nnet3-copy --binary=false"),
    (b"ftrt", "a TensorRT engine", "use the model that it was built from, such as its .onnx"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first: gunzip FILE"),
    (b"BZh", "compressed with bzip2", "unpack it first: bunzip2 FILE"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first: unxz FILE"),
    (
        (b"x\x9c", b"x\x5e", b"x\xda"),
        "compressed with zlib, as joblib does",
        "unpack it: joblib.dump(joblib.load(FILE), 'plain.joblib')",
    ),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it and give one of its files"),
    (b"\x7fELF", "a program or library", "give its weights file"),
    (b"%PDF", "a PDF document", "give a weights file"),
)
"""The first bytes of a file, what it is, and what to give instead."""
_TEXTS = (
    (b"7767517", "an ncnn network, whose numbers are in its .bin", "use the model that it was converted from"),
    (
        b'"modelTopology"',
        "a TensorFlow.js model",
        "convert it to Keras: tensorflowjs_converter --input_format tfjs_layers_model FILE model.h5",
    ),
    (b"<net name=", "an OpenVINO model, whose numbers are in its .bin", "use the model that it was converted from"),
)
"""Texts that are no spec: what is in the beginning of one, what it is, and what to give instead."""
_ORT = (
    "write it as .onnx: o = onnxruntime.SessionOptions(); o.optimized_model_filepath = 'm.onnx'; "
    "onnxruntime.InferenceSession(FILE, o)"
)
_FLAX = "then open('weights.msgpack', 'wb').write(flax.serialization.to_bytes(parameters))"
_EQX = "read them into the model: equinox.tree_deserialise_leaves(file, model), then numpy.savez, with a name for each"
_MAX_PARTS = 64
"""Parts that a file of Tesseract may have; it has 24 today."""


def is_spec(seen: Glimpse) -> bool:
    """Whether a file may be a spec: a text that is no model of another framework."""
    return seen.is_text and not seen.is_folder and not any(part in seen.head for part, _, _ in _TEXTS)


def unread(seen: Glimpse) -> FileError:
    """The error for what is neither a weights file nor text."""
    advice = "give a spec in YAML or a weights file (`rnnspect layouts` lists the names it may use)"
    found = "in an unknown format"
    if seen.is_folder:
        found, advice = _folder(seen)
        if any(name.endswith("manifest.ocdbt") for name in seen.members):
            found, advice = "a checkpoint of Orbax", f"restore it, {_FLAX}"
    elif seen.members:
        found, advice = "a zip archive of other files", "unpack it and give one of its files"
    elif _is_tesseract(seen.head):
        found = "a Tesseract file (traineddata), whose LSTM format is not supported"
        advice = "give a model of another framework"
    for begin, what, instead in _BEGINS:
        if seen.head.startswith(begin):
            found, advice = what, instead
    if seen.head.count(_NPY) > 1 or (seen.head.startswith(_NPY) and seen.path.suffix == ".eqx"):
        found, advice = "several arrays without names, as Equinox writes them (.eqx)", _EQX
    for part, what, instead in _TEXTS if seen.is_text else ():
        if part in seen.head:
            found, advice = what, instead
    if seen.head[4:8] == b"ORTM":
        found, advice = "a model in onnxruntime's own format (.ort)", _ORT
    return FileError(f"this {'is' if seen.is_folder else 'file is'} {found}", advice=advice, where=str(seen.path))


def _folder(seen: Glimpse) -> tuple[str, str]:
    """What a folder is that is no model, and what to give instead: nothing was looked at in its files."""
    if not seen.members:
        return "an empty folder", "give a weights file"
    found = f"a folder of {len(seen.members)} file{'s' if len(seen.members) > 1 else ''}"
    return found, f"give one of them, or check each: rnnspect check {shlex.quote(str(seen.path))}/*"


def _is_tesseract(head: bytes) -> bool:
    """It begins with how many parts it has (int32), then where each begins (int64), −1 for one that is not there
    (tesseract ccutil/tessdatamanager.cpp)."""
    count = int.from_bytes(head[:4], "little")
    if not 0 < count <= _MAX_PARTS or len(head) < 4 + 8 * count:
        return False
    places = [place for place in struct.unpack_from(f"<{count}q", head, 4) if place != -1]
    return bool(places) and places == sorted(places) and places[0] >= 4 + 8 * count
