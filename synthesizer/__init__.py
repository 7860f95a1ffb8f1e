"""Text and a voice -> mel spectrogram: `model`, of `layers`, `attention` and `decoder`, and its `loss`, then what trains and
uses them (`train`, `inference`); audio is prepared in `corpus/`, text in `text/`, long texts are read aloud in `reading/`."""
