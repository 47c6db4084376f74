"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART = ".part"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """What is written to the path that this gives takes the place of `path` at the end, in one step.

    After an error, a full disk say, nothing of it is left; after a kill, `path`.part is.
    """
    partial = path.with_name(path.name + PART)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:  # what a full disk says has no name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
