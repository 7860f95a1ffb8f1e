"""Reading aloud, whatever runs the model: `reader` reads, `speech` cuts and joins, `faults` finds missed words."""
