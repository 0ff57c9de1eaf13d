"""What is said of an error that no message of ours was made for."""

from __future__ import annotations

import errno
import traceback
from tempfile import NamedTemporaryFile


def explained(error: Exception) -> str:
    """One message for what no message of ours was made for; the traceback goes to a file."""
    if isinstance(error, OSError) and error.errno in _DISK:
        return f"{_DISK[error.errno]} ({error})"
    with NamedTemporaryFile("w", prefix="mashbill-error-", suffix=".txt", delete=False) as file:
        traceback.print_exception(error, file=file)
    return (
        f"unexpected {type(error).__name__}: {error}. What was finished is kept. "
        f"This is a defect: please report it with {file.name}"
    )


_DISK = {
    errno.ENOSPC: "the disk is full; nothing half-written was kept. Free some room and run it again",
    errno.EDQUOT: "the disk quota is used up. Free some room and run the same command again",
    errno.EFBIG: "a file would grow over the limit set here (ulimit -f). Raise it and run it again",
    errno.EROFS: "the disk is read-only. Choose another --store",
    errno.EACCES: "no permission to read or write there. Choose another --store, or mend its owner",
    errno.EIO: "the disk reports an error. Check it, then run the same command again",
}
