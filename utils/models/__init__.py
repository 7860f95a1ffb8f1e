"""What is saved of a model: `checkpoint` writes and loads it, and `device` says where it runs."""
