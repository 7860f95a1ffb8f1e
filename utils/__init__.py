"""What all packages share: files and signals in `data/`, corpora in `corpora/`, training in `training/`, its curves and
pictures in `boards/`, checkpoints in `models/`, other formats in `export/`."""
