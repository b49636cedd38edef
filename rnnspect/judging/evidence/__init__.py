"""What the residuals of a run, far below any bound, tell about the engine's parameters."""
