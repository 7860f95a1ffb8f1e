"""How often Python looks for garbage: by default, so often that starting a program takes much longer."""

import atexit
import gc

USUAL, SELDOM = gc.get_threshold(), 20_000  # objects that are new since it last looked


def look_seldom() -> None:
    """At the start: importing torch makes hundreds of thousands of objects, and at the end nothing is worth collecting. Both
    take half a second otherwise."""
    gc.set_threshold(SELDOM)
    atexit.register(gc.freeze)


def look_as_usual() -> None:
    """In a program that runs long, once it has imported what it needs."""
    gc.set_threshold(*USUAL)
