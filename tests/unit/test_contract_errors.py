"""The error vocabulary: one code a class, and the way back."""

from __future__ import annotations

import re

import pytest
from inductory_client.contract.errors import ERRORS, InductoryError, NotFound, error_from_code


def tree(cls: type[InductoryError]) -> set[type[InductoryError]]:
    return {cls}.union(*(tree(child) for child in cls.__subclasses__()))


def contract_errors() -> list[type[InductoryError]]:
    return sorted(
        (cls for cls in tree(InductoryError) if cls.__module__ == InductoryError.__module__), key=str
    )


def test_codes_are_unique_and_every_class_has_its_own() -> None:
    assert len(ERRORS) == len(contract_errors())
    assert set(ERRORS.values()) == set(contract_errors())
    assert all("code" in vars(cls) for cls in contract_errors())


@pytest.mark.parametrize("cls", contract_errors(), ids=lambda cls: cls.__name__)
def test_each_is_documented_and_travels(cls: type[InductoryError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", cls.code)
    assert cls.status in range(400, 600)
    assert re.fullmatch(r"[A-Z].*\.", cls().message)
    back = error_from_code(cls.code, "why")
    assert type(back) is cls
    assert (back.message, str(back)) == ("why", "why")


def test_only_faults_that_may_pass_are_retryable() -> None:
    assert all(cls.status in (503, 504) for cls in contract_errors() if cls.retryable)


def test_a_code_from_a_newer_store_is_kept_in_words() -> None:
    error = error_from_code("lease_lost", "the lease is gone")
    assert type(error) is InductoryError
    assert error.message == "the lease is gone (lease_lost)"


def test_an_empty_message_becomes_the_default() -> None:
    assert error_from_code("not_found", "").message == NotFound().message
