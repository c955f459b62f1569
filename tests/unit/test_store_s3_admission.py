"""A bucket that has gone silent is tried by two calls at a time, and every answer ends that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, NoCredentialsError, ReadTimeoutError
from inductory_client.contract.errors import StorageFailed
from inductory_store.blobs.s3_admission import SILENCE_S, TRIES_MAX, Admission

TIMED_OUT = ReadTimeoutError(endpoint_url="http://bucket")
HUNG_UP = ConnectionClosedError(endpoint_url="http://bucket")
REFUSED = ClientError({"Error": {"Code": "SlowDown"}}, "GetObject")


class Bucket:
    """Calls made through an admission, whose clock is the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.admission = Admission(lambda: self.now)

    def answers(self) -> str:
        return str(self.admission.call(lambda: "bytes", quick=True))

    def fails(self, error: Exception) -> None:
        def method() -> None:
            raise error

        with pytest.raises(type(error)):
            self.admission.call(method, quick=True)

    def while_waiting(self, calls: int, inside: Callable[[], object], *, quick: bool = True) -> Any:
        """Do something while so many calls are under way."""
        if calls == 0:
            return inside()
        return self.admission.call(lambda: self.while_waiting(calls - 1, inside, quick=quick), quick=quick)

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def test_calls_are_made_with_their_arguments_and_answer(bucket: Bucket) -> None:
    assert bucket.admission.call(lambda Key: f"object {Key}", quick=True, Key="a") == "object a"


@pytest.mark.parametrize("error", [TIMED_OUT, HUNG_UP], ids=["timed out", "hung up"])
def test_a_bucket_that_did_not_answer_is_tried_by_two_at_a_time(bucket: Bucket, error: Exception) -> None:
    bucket.fails(error)
    assert bucket.admission.is_silent()
    with pytest.raises(StorageFailed, match="wasn't asked"):
        bucket.while_waiting(TRIES_MAX, bucket.answers)


def test_who_tries_finds_when_it_is_back(bucket: Bucket) -> None:
    bucket.fails(TIMED_OUT)
    assert bucket.while_waiting(TRIES_MAX - 1, bucket.answers) == "bytes"
    assert not bucket.admission.is_silent()
    assert bucket.while_waiting(TRIES_MAX + 9, bucket.answers) == "bytes"


def test_an_error_of_the_buckets_is_an_answer(bucket: Bucket) -> None:
    bucket.fails(TIMED_OUT)
    bucket.fails(REFUSED)
    assert not bucket.admission.is_silent()


def test_an_error_of_ours_says_nothing(bucket: Bucket) -> None:
    bucket.fails(NoCredentialsError())
    assert not bucket.admission.is_silent()
    bucket.fails(TIMED_OUT)
    bucket.fails(NoCredentialsError())
    assert bucket.admission.is_silent()


def test_calls_that_wait_in_vain_are_enough(bucket: Bucket) -> None:
    """The first timeout may be far."""

    def inside() -> None:
        assert bucket.answers() == "bytes", "who has just begun to wait says nothing"
        bucket.passes(SILENCE_S / 2)
        assert not bucket.admission.is_silent(), "something was answered a moment ago"
        bucket.passes(SILENCE_S / 2)
        with pytest.raises(StorageFailed, match="wasn't asked"):
            bucket.answers()

    bucket.while_waiting(TRIES_MAX, inside)
    assert bucket.answers() == "bytes"


@pytest.mark.parametrize(
    ("calls", "quick"), [(TRIES_MAX - 1, True), (9, False)], ids=["one dead connection", "uploads"]
)
def test_what_may_take_long_is_not_waiting_in_vain(bucket: Bucket, calls: int, quick: bool) -> None:
    def inside() -> None:
        bucket.passes(10 * SILENCE_S)
        assert bucket.answers() == "bytes"

    bucket.while_waiting(calls, inside, quick=quick)


def test_a_call_that_fails_beside_others_that_are_answered_says_nothing(bucket: Bucket) -> None:
    def method() -> None:
        bucket.passes(1)
        assert bucket.answers() == "bytes"
        bucket.passes(1)
        raise TIMED_OUT

    with pytest.raises(ReadTimeoutError):
        bucket.admission.call(method, quick=True)
    assert not bucket.admission.is_silent()
