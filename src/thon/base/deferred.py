"""Modules that are found at once and loaded at first use, so that the command line answers without PyTorch."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


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
    waiting = type(module)

    class Deferred(waiting):  # pyright: ignore[reportGeneralTypeIssues, reportUntypedBaseClass]
        """Tells its name and file to those who list all modules, as `inspect` does, without being loaded by it."""

        def __getattribute__(self, attribute: str) -> object:
            if attribute in ("__name__", "__file__"):
                return ModuleType.__getattribute__(self, attribute)
            return super().__getattribute__(attribute)

    object.__setattr__(module, "__class__", Deferred)
