"""Recurrent cells of TensorFlow: found in a graph or by their variables' names, put together to layers and stacks."""
