"""Lets ``imagededup.methods`` be imported where torchvision is missing or does not load.

That package imports its neural method with its hashes, and with it torch and torchvision. Only hashes are
measured here, so the neural method and its models are empty names. Python imports this file by its name
when its folder is on PYTHONPATH, in every process that a tool starts.
"""

import sys
from types import ModuleType


class NotMeasured:
    """Stands for what is imported and never called."""


for module, name in (("methods.cnn", "CNN"), ("utils.models", "CustomModel")):
    empty = ModuleType(f"imagededup.{module}")
    setattr(empty, name, NotMeasured)
    sys.modules[empty.__name__] = empty
