"""What is talked about: a spec, its parameters, the sequence that runs, the device and precision it runs in."""
