"""What the operations of a cell mean: one meaning a file."""
