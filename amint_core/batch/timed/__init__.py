"""A grid of runs within a time limit: one process, images on the device, each run saved at once."""
