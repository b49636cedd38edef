"""What several targets need, and no target itself."""
