"""Speech -> a vector that tells voices apart: `model` and its loss `ge2e`, then what trains, evaluates and uses them
(`train`, `evaluate`, `inference`)."""
