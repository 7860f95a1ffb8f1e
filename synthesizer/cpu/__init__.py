"""Compiled by numba for CPUs. Only synthesizer.accelerate imports it: without numba everything runs in plain torch."""
