"""Finds a recipe: a built-in name, or ``path/to/file.py:function``."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from store.errors import MashbillError, UsageError


def find_recipe(name: str, built_in: ModuleType) -> Callable[[], Any]:
    """The recipe function.

    Args:
        name: ``l-pp`` (hyphen and underscore alike) or ``path/to/file.py:function``.
        built_in: the package whose modules each hold one recipe of their own name.

    Raises:
        UsageError: no such recipe, file or function; lists the built-in ones.
    """
    if ".py:" in name:
        return _from_file(name)
    wanted = name.replace("-", "_")
    there = sorted(module.name for module in pkgutil.iter_modules(built_in.__path__))
    if wanted not in there:
        shown = ", ".join(item.replace("_", "-") for item in there)
        raise UsageError(f"no recipe {name!r}; there are: {shown}; or give path/to/file.py:function")
    return _function(importlib.import_module(f"{built_in.__name__}.{wanted}"), wanted, name)


def _from_file(name: str) -> Callable[[], Any]:
    path, _, function = name.rpartition(":")
    if not Path(path).is_file():
        raise UsageError(f"recipe {name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"recipe_{Path(path).stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except MashbillError:
        raise
    except Exception as error:
        raise UsageError(f"recipe {path} cannot be imported: {type(error).__name__}: {error}") from error
    return _function(module, function, name)


def _function(module: ModuleType, function: str, name: str) -> Callable[[], Any]:
    found = getattr(module, function, None)
    if not callable(found):
        raise UsageError(f"recipe {name}: {module.__name__} has no function {function!r}")
    return found  # type: ignore[no-any-return]
