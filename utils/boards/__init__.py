"""What is watched of a training run: `board` takes it, and sends it on to files and dashboards."""
