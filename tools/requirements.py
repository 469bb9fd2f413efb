#!/usr/bin/env python3
"""Print what an extra of pyproject.toml needs, extras that it names of our own package unfolded, and maturin."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def unfold(extras: dict[str, list[str]], name: str) -> set[str]:
    """The requirements of one extra."""
    found = set()
    for requirement in extras[name]:
        own = re.fullmatch(r"mulletdaq\[(.+)\]", requirement)
        found |= set().union(*(unfold(extras, other) for other in own[1].split(","))) if own else {requirement}
    return found


if __name__ == "__main__":
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    print(*pyproject["build-system"]["requires"], sep="\n")
    print(*sorted(unfold(pyproject["project"]["optional-dependencies"], sys.argv[1])), sep="\n")
