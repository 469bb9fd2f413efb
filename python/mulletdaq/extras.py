"""One place that turns a missing third-party package into an error naming the extra to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mulletdaq.errors import MissingExtraError


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Wrap the imports that belong to an extra.

    Parameters
    ----------
    extra
        The name of the extra in ``pip install 'mulletdaq[extra]'``.

    Raises
    ------
    MissingExtraError
        In place of the ``ImportError`` of the missing package.
    """
    try:
        yield
    except MissingExtraError:
        raise
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        message = f"{package} is not installed; pip install 'mulletdaq[{extra}]' brings it"
        raise MissingExtraError(message, name=error.name) from error
