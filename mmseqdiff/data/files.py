"""Files that are written whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

__all__ = ["only_writer", "replacing"]


@contextmanager
def only_writer(folder: Path, error: type[Exception]) -> Iterator[None]:
    """Within the block no other process writes to a folder that it enters in this way.

    Args:
        folder: is made if need be; keeps a lock file.
        error: what to raise when another process is in there, or the folder cannot be written.
    """
    lock = filelock.FileLock(Path(folder) / ".writing")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise error(f"{folder} is being written by another process: wait for it, or use another folder") from None
    except OSError as failure:
        raise error(f"{folder} cannot be written: {failure.strerror or failure}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replacing(path: Path, error: type[Exception]) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` if the block ends well, and is removed if not.

    Args:
        path: the file to write; its folder is made if need be.
        error: what to raise when it cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave the new name on old or empty content
        os.replace(temporary, path)
    except OSError as failure:
        full = failure.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        why = "the disk is full; free some space and try again" if full else (failure.strerror or str(failure))
        raise error(f"{path} cannot be written: {why}") from None
    finally:
        temporary.unlink(missing_ok=True)
