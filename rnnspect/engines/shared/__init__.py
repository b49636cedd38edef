"""Shared by several engines: stacks run layer by layer, long runs in pieces, JAX, and ONNX models."""
