"""A run as one page, and one number of it as arithmetic."""
