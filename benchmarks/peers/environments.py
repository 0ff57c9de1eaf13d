"""One virtual environment per tool: their pins would fight with ours and with each other's."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

INSTALL_LIMIT_S = 1800


class NotInstalled(Exception):
    """pip's last words."""


@dataclass(frozen=True)
class Environment:
    """``name``: its folder. ``alone``: packages installed without those that they ask for."""

    name: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


# Of torch and torchvision, imagededup needs only the import of its neural method to succeed (see
# without_cnn): left out, they are gigabytes saved.
_IMAGEDEDUP = (
    "matplotlib==3.11.2",
    "numpy==2.4.6",
    "pillow==13.0.0",
    "pywavelets==1.9.0",
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
    "tqdm==4.70.1",
)
IMAGEDEDUP = Environment("imagededup", _IMAGEDEDUP, ("imagededup==0.3.3.post2",))
DATA_JUICER = Environment(
    "data-juicer",
    ("py-data-juicer==1.6.1", "torch==2.13.0", "ray[default,data]==2.60.0", "datasets==5.2.0", *_IMAGEDEDUP),
    ("imagededup==0.3.3.post2",),
)
DAFT = Environment("daft", ("daft==0.7.26", "numpy==2.4.6"))
FASTDUP = Environment("fastdup", ("fastdup==2.54",))
# torch: an open range pulls gigabytes of CUDA; nothing here uses a GPU.
NEMO_CURATOR = Environment("nemo-curator", ("nemo-curator==1.4.0", "torch==2.13.0", "pillow==13.0.0"))


def python_of(environment: Environment, folder: Path) -> Path:
    """The Python of an environment under ``folder``: made now, or found as it was made before.

    Raises NotInstalled.
    """
    place = (folder / environment.name).absolute()
    python, mark = place / "bin" / "python", place / "installed.txt"
    wanted = "\n".join((*environment.packages, *environment.alone))
    if mark.exists() and mark.read_text() == wanted:
        return python
    print(f"making {place}", file=sys.stderr, flush=True)
    _run(sys.executable, "-m", "venv", "--clear", str(place))
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, *environment.packages)
    if environment.alone:
        _run(*pip, "--no-deps", *environment.alone)
    mark.write_text(wanted)
    return python


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"pip took more than {INSTALL_LIMIT_S} s") from None
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalled((errors or done.stderr.strip().splitlines() or ["no message"])[-1])
