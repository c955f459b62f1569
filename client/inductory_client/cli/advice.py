"""What to do about an error, by its code: the second line of every complaint."""

from __future__ import annotations

from inductory_client.contract.errors import InductoryError

ADVICE: dict[str, str] = {
    "store_unavailable": "Is it running, and is INDUCTORY_URL (or --url) its address?"
    " `inductory serve` starts one.",
    "deadline_exceeded": "`inductory doctor` measures how long the store takes."
    " A start waits for INDUCTORY_STORE_DEADLINE_S at most.",
    "breaker_open": "Try again in a few seconds.",
    "untrusted_signer": "If you trust that publisher, copy its key.pub into the folder of trusted keys"
    " (`inductory keygen` prints where that is).",
    "bad_signature": "Don't load it, and tell whoever runs the store:"
    " it was altered, or signed for something else.",
    "storage_full": "Make room, or set INDUCTORY_CACHE_DIR to a larger disk"
    " and INDUCTORY_CACHE_BYTES_MAX to what fits.",
    "compiler_absent": "pip install 'inductory[compiler]'",
    "not_found": "`inductory lookup --builds` lists what the store holds;"
    " namespaces are apart from each other (--namespace).",
}


def advice_for(error: InductoryError) -> str | None:
    return ADVICE.get(error.code)
