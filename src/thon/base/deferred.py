"""Modules that are found at once and loaded at first use, so that the command line answers without PyTorch."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

QUIET = frozenset({"__class__", "__dict__", "__file__", "__loader__", "__name__", "__package__", "__spec__"})
"""What the import system and `inspect` read of every module there is; none of it needs the module's own code."""


def defer(name: str) -> None:
    """Let a later ``import name`` cost nothing until an attribute of the module is read.

    A module that is already loaded, or is not installed, is left alone.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    waiting: type[ModuleType] = type(module)

    class Deferred(waiting):
        """Waits, without being loaded by those who merely list all modules."""

        def __getattribute__(self, attribute: str) -> object:
            if attribute in QUIET:
                return ModuleType.__getattribute__(self, attribute)
            object.__setattr__(self, "__class__", waiting)
            return getattr(self, attribute)

    object.__setattr__(module, "__class__", Deferred)
