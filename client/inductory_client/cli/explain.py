"""`inductory explain`: why an artifact was missed here, factor by factor."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from inductory_client.cas import LocalCas
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import BadSettings, InductoryError, NotFound
from inductory_client.misses import Misses, Noted
from inductory_client.settings import Settings
from inductory_client.trust import Keyring

from .artifact_text import artifact_text
from .exit_code import ExitCode, exit_code_of
from .explain_text import builds_text, differences_text, explained_text, group_text, time_text
from .explaining import Explained, Explaining, fewest_differences
from .noted import last_start, named, several_text, targets_of
from .options import add_settings_options, settings_of
from .output import Output
from .store_access import open_store
from .table import count_text, printable
from .volatile import Verdict, verdicts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "key",
        metavar="KEY",
        nargs="?",
        help="of the artifact, or the beginning of it, or the key as its scheme spells it;"
        " without it, what this machine missed last",
    )
    parser.add_argument("--model", metavar="NAME", help="all that was missed here for this model")
    add_settings_options(parser, "url", "namespace", "cache_dir", "config_dir")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit 1 where nothing was missed under that name, 3 where the store can't be reached; what is known here
    is told all the same.
    """
    if arguments.key is not None and arguments.model is not None:
        raise BadSettings("a key is of one artifact; leave --model out")
    settings = settings_of(arguments)
    cas = LocalCas(settings.cache_dir, settings.cache_bytes_max)
    notes = Misses(cas).read()
    if notes.damaged:
        output.note(f"{count_text(notes.damaged, 'note')} of misses can't be read, and is left out")
    noted = [each for each in notes.noted if each.missed.namespace == settings.namespace]
    with nullcontext() if settings.url is None else open_store(settings) as store:
        explaining = Explaining(cas, store, output.progress)
        asking = _Asking(settings, noted, explaining, output)
        if arguments.key is not None:
            code = asking.key(arguments.key)
        elif arguments.model is not None:
            code = asking.model(arguments.model)
        else:
            code = asking.last()
    if settings.url is None:
        output.note("no store is set (--url), so this is told from what lies here")
    if explaining.error is None:
        return code
    output.note(f"told from what lies here: {explaining.error.message}")
    return exit_code_of(explaining.error)


class _Asking:
    """One question, answered on the output."""

    def __init__(
        self, settings: Settings, noted: Sequence[Noted], explaining: Explaining, output: Output
    ) -> None:
        self._settings = settings
        self._noted = noted
        self._explaining = explaining
        self._output = output
        self._keyring = Keyring.load(settings)
        self._width = shutil.get_terminal_size().columns

    def key(self, name: str) -> ExitCode:
        noted = named(self._noted, name)
        if noted is None:
            return self._there(self._find_artifact(name))
        (explained,) = self._explaining.explain([noted])
        text = explained_text(explained, self._trust, self._width)
        self._print(text, misses=[self._value(explained)])
        return ExitCode.FINE

    def model(self, model: str) -> ExitCode:
        noted = [each for each in self._noted if each.missed.model == model]
        explained = self._explaining.explain(noted)
        builds = self._explaining.builds(model, targets_of(noted or self._noted))
        text = (
            group_text(explained, self._width) if noted else f"Nothing of {printable(model)} was missed here."
        )
        if self._settings.url is not None and self._explaining.error is None:
            text += f"\n\n{builds_text(builds, model)}"
        self._print(text, misses=[self._value(each) for each in explained], builds=builds)
        return ExitCode.FINE if noted else ExitCode.FOUND

    def last(self) -> ExitCode:
        noted = last_start(self._noted)
        explained = self._explaining.explain(noted)
        text = group_text(explained, self._width) if noted else "Nothing was missed here."
        self._print(text, misses=[self._value(each) for each in explained])
        return ExitCode.FINE

    def _there(self, artifact: Artifact) -> ExitCode:
        """Tell of an artifact that is there and wasn't missed here."""
        found = fewest_differences(targets_of(self._noted), artifact.subject.target)
        told = None if found is None else verdicts(found)
        trusted = "its signer is trusted here" if self._trust(artifact) else "its signer isn't trusted here"
        text = f"{artifact_text(artifact)}\n\nIt is there, and wasn't missed here; {trusted}."
        self._print(f"{text}\n{self._target_text(told)}", artifact=artifact, differences=told)
        return ExitCode.FINE

    def _target_text(self, told: Sequence[Verdict] | None) -> str:
        if told is None:
            return "Nothing was missed here, so this machine's target isn't known."
        if not told:
            return "It is for a target of this machine."
        head = f"The nearest target of this machine differs in {count_text(len(told), 'factor')}."
        return f"{head}\n\n{differences_text(told, self._width)}"

    def _find_artifact(self, name: str) -> Artifact:
        """Return an artifact that is here or at the store. Raises NotFound, BadSettings for several."""
        keys = [name] if is_digest(name) else self._explaining.keys_here(name)
        if len(keys) > 1:
            raise BadSettings(several_text(name, keys))
        found = self._explaining.artifacts(keys)
        if not found:
            error = self._explaining.error
            if error is not None:
                raise error
            beginning = "" if is_digest(name) else "; the store needs a whole key"
            raise NotFound(f"nothing was missed here under {name!r}, and no artifact is called so{beginning}")
        return next(iter(found.values()))

    def _trust(self, artifact: Artifact) -> bool:
        try:
            self._keyring.check(artifact)
        except InductoryError:
            return False
        return True

    def _print(self, text: str, **value: Any) -> None:
        error = self._explaining.error
        store = {"url": self._settings.url, "error": None if error is None else error.message}
        self._output.result({"misses": [], "store": store, **value}, text)

    def _value(self, explained: Explained) -> dict[str, Any]:
        """Return a miss as JSON: the note, and what is known now."""
        missed = explained.missed
        value = {name: getattr(missed, name) for name in missed.__struct_fields__}
        if missed.parts is not None:
            value["parts"] = {name: getattr(missed.parts, name) for name in missed.parts.__struct_fields__}
        return value | {
            "when": time_text(missed.at),
            "target": explained.target.fingerprint,
            "there": self._artifact_value(explained.there),
            "nearest": explained.nearest,
            "nearest_artifact": self._artifact_value(explained.nearest_artifact),
            "differences": explained.differences,
            "complete": explained.complete,
        }

    def _artifact_value(self, artifact: Artifact | None) -> dict[str, Any] | None:
        if artifact is None:
            return None
        return {
            "key": artifact.key,
            "target": artifact.subject.target.fingerprint,
            "signer": artifact.signature.signer,
            "trusted": self._trust(artifact),
            "builder": artifact.provenance.builder,
            "created_at": artifact.provenance.created_at,
        }
