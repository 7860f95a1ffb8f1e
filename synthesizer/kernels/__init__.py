"""Compiled by numba, for a CPU: imported only where they are used, as without numba all goes on in plain torch."""
