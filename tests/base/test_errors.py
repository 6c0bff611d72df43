"""Messages that say what, got, expected, mend, and the exit codes."""

from __future__ import annotations

import pytest

from thon.base.errors import FormatError, InputError, JobError, StoreError, ThonError


def test_the_message_says_all_that_is_known() -> None:
    error = FormatError(
        "the header is cut off", path="a.mrc", got="512 bytes", expected="1024 bytes", mend="copy it again"
    )
    assert str(error) == (
        "a.mrc: the header is cut off\n  found: 512 bytes\n  expected: 1024 bytes\n  mend: copy it again"
    )
    assert (error.what, error.path, error.got) == ("the header is cut off", "a.mrc", "512 bytes")


def test_what_is_not_known_is_not_said() -> None:
    assert str(ThonError("no luck")) == "no luck"
    assert str(InputError("too few", expected=3)) == "too few\n  expected: 3"


def test_zero_and_empty_were_found_all_the_same() -> None:
    assert str(InputError("the pixel size must be positive", got=0.0)).endswith("found: 0.0")
    assert str(InputError("no angles", got=[])).endswith("found: []")


@pytest.mark.parametrize(
    ("kind", "code"), [(ThonError, 1), (InputError, 2), (FormatError, 2), (JobError, 1), (StoreError, 1)]
)
def test_the_user_s_mistakes_exit_with_two_and_ours_with_one(kind: type[ThonError], code: int) -> None:
    assert kind("x").exit_code == code
    assert isinstance(kind("x"), ThonError)


def test_who_expects_a_value_error_gets_one() -> None:
    with pytest.raises(ValueError, match="stack"):
        raise FormatError("no stack")
    assert not issubclass(JobError, ValueError)
    assert not issubclass(StoreError, InputError)
