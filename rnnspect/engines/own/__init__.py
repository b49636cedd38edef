"""Your own code as an engine: `path/to/mine.py:MyLSTM`."""
