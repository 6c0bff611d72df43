"""The error tree.

```
ThonError
├── InputError (also ValueError)   what the user gave cannot be right
│   └── FormatError                a file's bytes are not what its format says
├── JobError                       a job failed on an item although its input was good
└── StoreError                     a project, a record or the disk under them is not usable
```

Every message says what was looked at, what was found, what was expected, and how to mend it.
"""

from __future__ import annotations


class ThonError(Exception):
    """Root of every error that thon raises on purpose.

    Args:
        what: The thing that is wrong, in a few words.
        path: File or folder concerned.
        got: What was found there.
        expected: What would have been right.
        mend: What the user can do.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, path: object = None, got: object = None, expected: object = None, mend: str | None = None
    ):
        self.what, self.path, self.got, self.expected, self.mend = what, path, got, expected, mend
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what if self.path is None else f"{self.path}: {self.what}"]
        if self.got is not None:
            parts.append(f"found: {self.got}")
        if self.expected is not None:
            parts.append(f"expected: {self.expected}")
        if self.mend is not None:
            parts.append(f"mend: {self.mend}")
        return "\n  ".join(parts)


class InputError(ThonError, ValueError):
    """What the user gave cannot be right; the command line exits with 2."""

    exit_code = 2


class FormatError(InputError):
    """A file's bytes are not what its format says: truncated, lying or unknown."""


class JobError(ThonError):
    """A job failed on an item although its input was good."""


class StoreError(ThonError):
    """A project folder, a record or the disk under them is not usable."""
