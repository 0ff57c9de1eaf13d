"""Finds the Python that has img2dataset 1.47.0.

img2dataset pins pandas<3, webdataset<0.3 and more, so it lives in an environment of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from store.errors import MashbillError

IMG2DATASET = "1.47.0"
VARIABLE = "MASHBILL_IMG2DATASET_PYTHON"
_CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints-img2dataset.txt"


def interpreter() -> str:
    """Its path; MashbillError with the commands that make the environment when there is none.

    The variable ``MASHBILL_IMG2DATASET_PYTHON`` names it, else it is ``img2dataset/bin/python``
    inside the environment that runs this program.
    """
    home = Path(sys.prefix) / "img2dataset"
    python = os.environ.get(VARIABLE) or str(home / "bin" / "python")
    found = _version(python)
    if found == IMG2DATASET:
        return python
    raise MashbillError(
        f"the downloader needs img2dataset {IMG2DATASET} in an environment of its own, and {python}"
        f" {found}. Make it with Python 3.11 or 3.12:\n  python3.11 -m venv {home}\n"
        f"  {home}/bin/pip install -c {_CONSTRAINTS} img2dataset=={IMG2DATASET}\n"
        f"or name the Python of such an environment in {VARIABLE}."
    )


@lru_cache
def _version(python: str) -> str:
    """The version there, or what is wrong as the end of a sentence that begins with the path."""
    ask = "import importlib.metadata as m, imghdr; print(m.version('img2dataset'))"
    try:
        # imghdr left Python in 3.13, and img2dataset imports it
        command = [python, "-I", "-W", "ignore", "-c", ask]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be run ({error})"
    if answer.returncode:
        return f"cannot be used ({(answer.stderr.split(chr(10))[-2:] or ['no reason given'])[0]})"
    found = answer.stdout.strip()
    return found if found == IMG2DATASET else f"has version {found}"
