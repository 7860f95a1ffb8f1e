"""What `python -m demo.evaluate` is made of."""
