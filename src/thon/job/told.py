"""Time and money in words for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def price(amount: float | None, currency: str | None) -> str:
    """Money for people; nothing where no price is known."""
    if amount is None:
        return ""
    return f"{amount:.2f} {currency or ''}".rstrip() if amount >= 0.1 else f"{amount:.2g} {currency or ''}".rstrip()
