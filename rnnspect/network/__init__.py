"""The network and its run as data: spec, parameters, input sequence, device and precision."""
