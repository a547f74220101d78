"""Imports a library without an optional dependency that costs time at start, and memory."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import cast


def import_without(hidden: str, name: str) -> ModuleType:
    """Import `name` as if `hidden`, an optional dependency of it, were not installed.

    If either is already imported, nothing can be saved and nothing is hidden.
    """
    if hidden in sys.modules or name in sys.modules:
        return importlib.import_module(name)
    sys.modules[hidden] = cast(ModuleType, None)  # an import of it now fails as if not installed
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[hidden]
