"""Checks an implementation at lengths, splits and batches at which fast forms tend to be wrong, each run by itself."""
