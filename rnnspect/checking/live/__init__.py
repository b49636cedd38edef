"""A live PyTorch model: each call of a recurrent module in it is captured and judged."""
