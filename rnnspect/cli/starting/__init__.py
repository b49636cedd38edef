"""Files to start from, which `rnnspect init` writes out."""
