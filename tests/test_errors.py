"""The tree in the docstring is the tree."""

from __future__ import annotations

import builtins
import inspect
import re
from collections.abc import Iterator

import pytest

from mulletdaq import errors

CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}


def drawn_tree() -> Iterator[tuple[str, str | None, list[str]]]:
    """Each class in the docstring, the class above it, and the builtins written beside it."""
    assert errors.__doc__ is not None
    above: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        found = re.fullmatch(r"(?P<indent>[\s│├└─]*)(?P<name>\w+Error)(?P<beside>(\s+\w+)*)\s*", line)
        if found is None or not line.startswith("    "):
            continue
        depth = len(found["indent"])
        while above and above[-1][0] >= depth:
            above.pop()
        yield found["name"], above[-1][1] if above else None, found["beside"].split()
        above.append((depth, found["name"]))


def test_every_class_is_drawn_once() -> None:
    """None missing, none too many."""
    names = [name for name, _, _ in drawn_tree()]
    assert sorted(names) == sorted(CLASSES)


@pytest.mark.parametrize(("name", "above", "beside"), list(drawn_tree()))
def test_bases_are_as_drawn(name: str, above: str | None, beside: list[str]) -> None:
    """Exactly the class above, and exactly the builtins beside."""
    bases = [base.__name__ for base in CLASSES[name].__bases__]
    assert bases == ([above] if above else ["Exception"]) + beside
    for builtin in beside:
        assert issubclass(CLASSES[name], getattr(builtins, builtin))


@pytest.mark.parametrize("kind", list(CLASSES.values()))
def test_every_class_is_documented_and_usable(kind: type[errors.MulletError]) -> None:
    """One base, a docstring, and a message that comes out as it went in, also of the OSErrors."""
    assert issubclass(kind, errors.MulletError)
    assert kind.__doc__
    assert str(kind("ring x: it is so")) == "ring x: it is so"
