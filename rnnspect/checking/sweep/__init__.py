"""An implementation at the lengths, splits and batches at which fast forms break: each run checked by itself."""
