"""`inductory status`: the store, the local cache and the trusted keys at a glance."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from inductory_client.cas import LocalCas
from inductory_client.contract.errors import BadSettings, InductoryError
from inductory_client.settings import Settings
from inductory_client.trust import Keyring, load_signing_key
from inductory_client.version import __version__

from .exit_code import ExitCode, exit_code_of
from .options import add_settings_options, settings_of
from .output import Output
from .store_access import open_store
from .table import bytes_text, count_text, facts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser, "url", "namespace", "cache_dir", "config_dir")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit 3 where the store can't be reached, 1 where it isn't ready; what is here is shown all the same."""
    settings = settings_of(arguments)
    value: dict[str, Any] = {"version": __version__, "cache": _cache(settings), "trust": _trust(settings)}
    code = ExitCode.FINE
    try:
        value["store"] = None if settings.url is None else _store(settings, output)
        if value["store"] and value["store"]["status"] != "ok":
            code = ExitCode.FOUND
    except InductoryError as error:
        value["store"] = {
            "url": settings.url,
            "status": "unreachable",
            "error": error.message,
            "code": error.code,
        }
        code = exit_code_of(error)
    output.result(value, _text(value))
    return code


def _store(settings: Settings, output: Output) -> dict[str, Any]:
    with open_store(settings) as store:
        output.progress(f"asking {store.url}")
        status = store.ready()
        value = {"url": store.url, "namespace": store.namespace, **msgspec.to_builtins(status)}
        if status.status == "ok":
            value |= msgspec.to_builtins(store.stats())
    return value


def _cache(settings: Settings) -> dict[str, Any]:
    usage = LocalCas(settings.cache_dir, settings.cache_bytes_max).usage()
    where = {"folder": str(settings.cache_dir), "bytes_max": settings.cache_bytes_max}
    return {**where, **msgspec.to_builtins(usage)}


def _trust(settings: Settings) -> dict[str, Any]:
    try:
        own: str | None = load_signing_key(settings, create=False).signer
    except BadSettings:
        own = None
    return {"signer": own, "trusted": len(Keyring.load(settings)), "folder": str(settings.config_dir)}


def _text(value: dict[str, Any]) -> str:
    cache, trust, store = value["cache"], value["trust"], value["store"]
    pairs: list[tuple[str, object]] = []
    if store is None:
        pairs.append(("store", "none is set; give --url, or set INDUCTORY_URL"))
    elif store["status"] == "unreachable":
        pairs.append(("store", f"{store['url']}, unreachable: {store['error']}"))
    else:
        pairs += _store_facts(store)
    counts = f"{count_text(cache['artifacts'], 'artifact')}, {count_text(cache['blobs'], 'blob')}"
    used = f"{bytes_text(cache['used_bytes'])} of {bytes_text(cache['bytes_max'])}"
    pairs.append(("local cache", f"{cache['folder']}: {counts}, {used}"))
    signer = f"signs as {trust['signer'][:12]}" if trust["signer"] else "has no signing key yet"
    trusted = count_text(trust["trusted"], "trusted key")
    pairs.append(("trust", f"this machine {signer}; {trusted} in {trust['folder']}"))
    pairs.append(("version", value["version"]))
    return facts(pairs)


def _store_facts(store: dict[str, Any]) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = [
        ("store", f"{store['url']}, {store['status']}, version {store['version']}")
    ]
    wrong = [f"{part}: {state}" for part, state in sorted(store["checks"].items()) if state != "ok"]
    if wrong:
        pairs.append(("  not ready", "; ".join(wrong)))
    if "builds" in store:
        counts = f"{count_text(store['builds'], 'build')}, {count_text(store['artifacts'], 'artifact')}"
        if store["dispatches"]:
            counts += f" ({count_text(store['dispatches'], 'dispatch', 'dispatches')})"
        pairs.append((f"  namespace {store['namespace']}", counts))
        if store["agreed"] or store["disagreed"]:
            text = f"builders agree on {count_text(store['agreed'], 'artifact')}"
            pairs.append(("", f"{text} and differ on {store['disagreed']}"))
    return pairs
