"""Prints a script's arguments, for scripts written for Real-Time-Voice-Cloning."""

import argparse


def print_args(args: argparse.Namespace, parser: argparse.ArgumentParser | None = None) -> None:
    """One line for each argument. The parser is not needed."""
    width = max(map(len, vars(args)), default=0) + 3
    print("Arguments:")
    for name, value in vars(args).items():
        print(f"    {name + ':':{width}}{value}")
    print()
