"""Audio preprocessing: `speakers` makes one speaker's files, with the help of the rest."""
