"""How one gradient is written as arithmetic."""
