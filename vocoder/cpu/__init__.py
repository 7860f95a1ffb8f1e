"""Compiled by numba for CPUs. Only vocoder.accelerate imports it: without numba everything runs in plain torch."""
