"""Formats that no reader here knows: what such a file is called, and how to get its arrays out."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from rnnspect.errors import FileError

if TYPE_CHECKING:
    from rnnspect.files.glimpse import Glimpse

_SAVE = "numpy.savez('weights.npz', **arrays)"
_BEGINS = (
    (b"GGUF", "a GGUF file", f"gguf.GGUFReader(file).tensors gives its arrays; {_SAVE}"),
    (b"\x12\x01\x00\x00\x00\x00\x00\x00", "parameters of MXNet", f"mxnet.nd.load(file) gives its arrays; {_SAVE}"),
    (b"MATLAB 5.0", "a MATLAB file", f"scipy.io.loadmat(file) gives its arrays; {_SAVE}"),
    (b"\x00B<Nnet3>", "a network of Kaldi", "nnet3-copy --binary=false writes its numbers as text"),
    (b"ftrt", "an engine of TensorRT", "the model that it was built from, such as its .onnx"),
    (b"\x1f\x8b", "packed by gzip", "the file in it: gunzip FILE"),
    (b"BZh", "packed by bzip2", "the file in it: bunzip2 FILE"),
    (b"\xfd7zXZ", "packed by xz", "the file in it: unxz FILE"),
    (b"x\x9c", "packed by zlib, as joblib does", "joblib.dump(joblib.load(FILE), 'plain.joblib') unpacks it"),
    (b"x\x5e", "packed by zlib, as joblib does", "joblib.dump(joblib.load(FILE), 'plain.joblib') unpacks it"),
    (b"x\xda", "packed by zlib, as joblib does", "joblib.dump(joblib.load(FILE), 'plain.joblib') unpacks it"),
    (b"7z\xbc\xaf", "a 7z archive", "one of the files in it"),
    (b"\x7fELF", "a program or library", "the file of its weights"),
    (b"%PDF", "a PDF document", "a file of weights"),
)
"""The first bytes of a file, what it is, and what to give instead."""
_TEXTS = (
    (b"7767517", "a network of ncnn, whose numbers are in its .bin", "the model that it was converted from"),
    (
        b'"modelTopology"',
        "a model of TensorFlow.js",
        "one of Keras: tensorflowjs_converter --input_format tfjs_layers_model FILE model.h5 writes it",
    ),
    (b"<net name=", "a model of OpenVINO, whose numbers are in its .bin", "the model that it was converted from"),
)
"""Texts that are no spec: what is in the beginning of one, what it is, and what to give instead."""
_ORT = (
    "the same as .onnx: o = onnxruntime.SessionOptions(); o.optimized_model_filepath = 'm.onnx'; "
    "onnxruntime.InferenceSession(FILE, o) writes it"
)
_MAX_PARTS = 64
"""Parts that a file of Tesseract may have; it has 24 today."""


def is_spec(seen: Glimpse) -> bool:
    """Whether a file may be a spec: a text that is no model of another framework."""
    return seen.is_text and not seen.is_folder and not any(part in seen.head for part, _, _ in _TEXTS)


def unread(seen: Glimpse) -> FileError:
    """The error for what is neither a file of weights nor a text."""
    allowed = "a spec in YAML, or a file of weights: rnnspect layouts says how they may be named"
    found = "a file of a format that is not known here"
    if seen.is_folder:
        found = f"a folder of {len(seen.members)} files without weights that are known here"
        allowed = "one file of weights"
    elif seen.members:
        found, allowed = "a zip archive of other files", "one of the files in it"
    elif _is_tesseract(seen.head):
        found = "a file of Tesseract (traineddata), which keeps its LSTM in a format of its own"
        allowed = "a model of another framework"
    for begin, what, instead in _BEGINS:
        if seen.head.startswith(begin):
            found, allowed = what, instead
    for part, what, instead in _TEXTS if seen.is_text else ():
        if part in seen.head:
            found, allowed = what, instead
    if seen.head[4:8] == b"ORTM":
        found, allowed = "a model in onnxruntime's own format (.ort)", _ORT
    return FileError(found, allowed=allowed, where=str(seen.path))


def _is_tesseract(head: bytes) -> bool:
    """It begins with how many parts it has (int32), then where each begins (int64), −1 for one that is not there
    (tesseract ccutil/tessdatamanager.cpp)."""
    count = int.from_bytes(head[:4], "little")
    if not 0 < count <= _MAX_PARTS or len(head) < 4 + 8 * count:
        return False
    places = [place for place in struct.unpack_from(f"<{count}q", head, 4) if place != -1]
    return bool(places) and places == sorted(places) and places[0] >= 4 + 8 * count
