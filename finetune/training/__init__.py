"""Training an adapter on rendered rows: examples on disk, exact steps, checkpoints that survive a kill."""
