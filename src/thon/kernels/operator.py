"""Operators of PyTorch with a reference, kernels for devices and a gradient.

`torch.library.custom_op` registers the same, but its first call loads PyTorch's compiler: more than a second, which
would be most of what a short command takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

_LIBRARY = torch.library.Library("thon", "FRAGMENT")
Function = TypeVar("Function", bound=Callable[..., Any])


class Operator:
    """`torch.ops.thon.NAME`.

    Args:
        name: Of the operator.
        schema: Its arguments and result, as PyTorch writes them.
        reference: Does its work on any device that has no kernel.
    """

    def __init__(self, name: str, schema: str, reference: Callable[..., Any]) -> None:
        self._name = name
        _LIBRARY.define(f"{name}{schema}")
        _LIBRARY.impl(name, reference, "CompositeExplicitAutograd")

    def register_fake(self, function: Function) -> Function:
        """Take a function that gives the result's shape and type without its values."""
        torch.library.register_fake(f"thon::{self._name}", function, lib=_LIBRARY)
        return function

    def register_kernel(self, device: str) -> Callable[[Function], Function]:
        """Take a function that does the work on a type of device, such as ``cpu``."""

        def register(function: Function) -> Function:
            _LIBRARY.impl(self._name, function, device.upper())
            return function

        return register

    def register_autograd(self, gradient: Callable[..., Any], *, setup_context: Callable[..., None]) -> None:
        """Take the gradient, as `torch.library.register_autograd` does."""
        torch.library.register_autograd(f"thon::{self._name}", gradient, setup_context=setup_context, lib=_LIBRARY)
