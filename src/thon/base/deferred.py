"""Modules that are found at once and loaded at first use, so that the command line answers without PyTorch."""

from __future__ import annotations

import importlib.util
import sys


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
