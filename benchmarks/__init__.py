"""Ratios measured in one run: what is compared is measured in turn, so that a slow minute slows both."""
