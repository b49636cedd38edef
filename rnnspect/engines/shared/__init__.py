"""What several engines need: one layer at a time as a stack, what an engine cannot run, JAX, models in ONNX."""
