"""TensorFlow's files without TensorFlow: graphs, checkpoints and SavedModels as bytes. Nothing of a graph is run."""
