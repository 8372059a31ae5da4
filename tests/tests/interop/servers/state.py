"""Tells the test that a server is ready."""

import json
import os


def tell(path, state):
    """Writes the state file in one step: who reads it never sees half of it."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(state, file)
    os.replace(path + ".new", path)
