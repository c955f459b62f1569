"""A bucket that has gone silent is tried by two calls at a time, and every answer ends that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, NoCredentialsError, ReadTimeoutError
from inductory_client.contract.errors import StorageFailed
from inductory_store.blobs.s3_admission import SILENCE_S, TRIES_MAX, Admission
from urllib3.exceptions import ReadTimeoutError as BodyTimedOut

TIMED_OUT = ReadTimeoutError(endpoint_url="http://bucket")
BODY_TIMED_OUT = BodyTimedOut(None, "http://bucket", "read timed out")  # type: ignore[arg-type]
HUNG_UP = ConnectionClosedError(endpoint_url="http://bucket")
REFUSED = ClientError({"Error": {"Code": "SlowDown"}}, "GetObject")


class Bucket:
    """Calls made through an admission, whose clock is the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.admission = Admission(lambda: self.now)

    def answers(self, *, decides: bool = True) -> str:
        with self.admission.asking(quick=True, decides=decides):
            return "bytes"

    def fails(self, error: Exception) -> None:
        with pytest.raises(type(error)), self.admission.asking(quick=True):
            raise error

    @contextmanager
    def waiting(self, calls: int, *, quick: bool = True) -> Iterator[None]:
        """Have so many calls under way, which end without a word."""
        with ExitStack() as stack:
            for _ in range(calls):
                stack.enter_context(self.admission.asking(quick=quick, decides=False))
            yield

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.mark.parametrize(
    "error",
    [TIMED_OUT, HUNG_UP, BODY_TIMED_OUT, ConnectionResetError()],
    ids=["timed out", "hung up", "timed out in a body", "reset in a body"],
)
def test_a_bucket_that_did_not_answer_is_tried_by_two_at_a_time(bucket: Bucket, error: Exception) -> None:
    bucket.fails(error)
    assert bucket.admission.is_silent()
    with bucket.waiting(TRIES_MAX), pytest.raises(StorageFailed, match="wasn't asked"):
        bucket.answers()


def test_who_tries_finds_when_it_is_back(bucket: Bucket) -> None:
    bucket.fails(TIMED_OUT)
    with bucket.waiting(TRIES_MAX - 1):
        assert bucket.answers() == "bytes"
    assert not bucket.admission.is_silent()
    with bucket.waiting(TRIES_MAX + 9):
        assert bucket.answers() == "bytes"


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
    with bucket.waiting(TRIES_MAX):
        assert bucket.answers() == "bytes", "who has just begun to wait says nothing"
        bucket.passes(SILENCE_S / 2)
        assert not bucket.admission.is_silent(), "something was answered a moment ago"
        bucket.passes(SILENCE_S / 2)
        with pytest.raises(StorageFailed, match="wasn't asked"):
            bucket.answers()
    assert bucket.answers() == "bytes"


@pytest.mark.parametrize(
    ("calls", "quick"), [(TRIES_MAX - 1, True), (9, False)], ids=["one dead connection", "uploads"]
)
def test_what_may_take_long_is_not_waiting_in_vain(bucket: Bucket, calls: int, quick: bool) -> None:
    with bucket.waiting(calls, quick=quick):
        bucket.passes(10 * SILENCE_S)
        assert bucket.answers() == "bytes"


def test_headers_alone_are_no_answer(bucket: Bucket) -> None:
    with bucket.waiting(TRIES_MAX):
        bucket.passes(SILENCE_S - 0.1)
        bucket.answers(decides=False)
        bucket.passes(0.1)
        assert bucket.admission.is_silent()


def test_a_call_that_fails_beside_others_that_are_answered_says_nothing(bucket: Bucket) -> None:
    with suppress(ReadTimeoutError), bucket.admission.asking(quick=True):
        bucket.passes(1)
        assert bucket.answers() == "bytes"
        bucket.passes(1)
        raise TIMED_OUT
    assert not bucket.admission.is_silent()
