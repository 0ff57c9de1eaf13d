"""Finds a recipe: a built-in name, or ``path/to/file.py:function``."""

from __future__ import annotations

import importlib
import pkgutil
import sys
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


def run_recipe(name: str, built_in: ModuleType) -> Any:
    """What the recipe function returns.

    Raises:
        UsageError: there is no such recipe, or it raised.
    """
    recipe = find_recipe(name, built_in)
    try:
        return recipe()
    except MashbillError:
        raise
    except Exception as error:
        raise UsageError(f"recipe {name} failed: {type(error).__name__}: {error}") from error


def _from_file(name: str) -> Callable[[], Any]:
    path, _, function = name.rpartition(":")
    if not Path(path).is_file():
        raise UsageError(f"recipe {name}: there is no file {path}")
    folder, stem = str(Path(path).resolve().parent), Path(path).stem
    if folder not in sys.path:
        sys.path.append(folder)  # worker processes import the stages it defines from there
    try:
        module = importlib.import_module(stem)
    except MashbillError:
        raise
    except Exception as error:
        raise UsageError(f"recipe {path} cannot be imported: {type(error).__name__}: {error}") from error
    if Path(module.__file__ or "").resolve() != Path(path).resolve():
        raise UsageError(f"recipe {path}: {stem} is the name of another Python module; rename the file")
    return _function(module, function, name)


def _function(module: ModuleType, function: str, name: str) -> Callable[[], Any]:
    found = getattr(module, function, None)
    if not callable(found):
        raise UsageError(f"recipe {name}: {module.__name__} has no function {function!r}")
    return found  # type: ignore[no-any-return]
