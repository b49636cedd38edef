"""Files of other people's as parameters in PyTorch's names and shapes: one kind of file a module."""
