"""Mel spectrogram -> wave: `model`, of `upsample` and `distribution`, then what trains and uses it (`train`, `inference`)."""
