"""What surrounds a training loop: `run` is what trainers use, and the rest is what it is made of."""
