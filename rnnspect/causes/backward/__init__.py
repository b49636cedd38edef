"""Known mistakes of going back, and the search for the one that explains a pass backwards that differs."""
