"""Files and signals: recordings are read by `decoding` and `audio`, rows of train.txt by `rows`, and written by `paths`."""
