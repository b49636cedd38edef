"""A model in ONNX: each call of a recurrent node in it is captured and judged."""
