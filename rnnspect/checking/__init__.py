"""How a check comes about, for each thing that can be checked: a run of an engine, a recording, a live model (`live`),
a model in ONNX (`onnx`), a converted file; and what must hold of any run (`identities`)."""
