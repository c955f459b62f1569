"""Volatile factors: what tends to differ between nodes though nobody meant it to, and what to do about it.

A table of rules, the first that fits counts. Values only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from msgspec import Struct

from inductory_client.contract.target import FactorDifference


class Verdict(Struct, frozen=True, omit_defaults=False):
    """One difference, and what is known of its kind."""

    name: str
    ours: str | None
    theirs: str | None
    volatile: bool
    """Whether it may well differ by accident; otherwise another machine, release or setting was chosen."""
    advice: str
    """A sentence or two; empty where nothing is known."""


@dataclass(frozen=True)
class Rule:
    """What is known of the factors whose names fit `names`."""

    names: str
    """A regular expression for the whole name."""
    advice: str
    volatile: bool = False
    unless: str = ""
    """A name: where that differs, too, this rule is passed over."""
    paths: bool = False
    """Whether a value must look like a path."""


_PATH = re.compile(r"(?:~|\.{1,2})?/[^\s]*|[\w.+-]+(?:/[\w.+-]+)+")
_TORCH = "Another torch makes other code. After an upgrade that is so once; else run one image on all nodes."
_MACHINE = "Its code is for another GPU. Compile once on such a machine, ahead of time or at its first start."
_AT_ONE_PATH = "It holds a path: use the same path on all nodes."
_WHOLE = "It is a digest; what else differs here explains it."

RULES: tuple[Rule, ...] = (
    Rule("scheme|backend", "Something else made the code, which isn't interchangeable."),
    Rule("shape", "It is for other lengths. Compile with the same range or size as on the other node."),
    Rule(
        "scheme_key",
        "What makes these keys put something into them that no factor names. Look at its own log of the key.",
    ),
    Rule(r"option\..*", "A compile option: pass the same options, or leave it at its default."),
    Rule(
        r"vllm\.env\.(?:.*_)?(?:ROOT|DIR|HOME|PATH|FOLDER)",
        "vLLM hashes this variable, and it names a folder: unset it, or set it alike on all nodes.",
        volatile=True,
    ),
    Rule(
        r"vllm\.env\..*",
        "vLLM hashes this variable: unset it, or set it alike on all nodes.",
        volatile=True,
    ),
    Rule(
        r"vllm\.env",
        "The digest of all environment variables that vLLM hashes: compare cache_key_factors.json of both"
        " nodes.",
        volatile=True,
    ),
    Rule(
        r"vllm\.(?:config\.)?model",
        "vLLM hashes how the model is named: serve it under the same name or path on all nodes.",
        volatile=True,
    ),
    Rule(
        r"vllm\.config\.\w+_config",
        "vLLM's digest of a part of its configuration: compare the command lines of both nodes.",
    ),
    Rule(
        r"vllm\.(?:dtype|max_.*)",
        "An argument of vLLM's: give the same on all nodes.",
    ),
    Rule(
        r"vllm\.(?:code|code_hash|code\..*)",
        "vLLM hashes the sources that it traced, with their paths: install one version at one place.",
        volatile=True,
    ),
    Rule(
        r"vllm\.(?:config|compiler)(?:_hash)?|vllm\.hash",
        "A digest of vLLM's: compare command line, version and cache_key_factors.json of both nodes.",
    ),
    Rule(r"vllm\.rank", "It is for another rank: each rank has its own."),
    Rule(
        "torch.key",
        "torch's files differ though its version doesn't: another build of it, or edited files."
        " Run one image on all nodes.",
        volatile=True,
        unless="torch.version",
    ),
    Rule(r"torch\.(?:version|key)", _TORCH),
    Rule(
        r"triton\.(?:key|version)",
        "Another Triton makes other code; it comes with torch. Run one image on all nodes.",
    ),
    Rule(
        r"triton\.ptxas",
        "TRITON_PTXAS_PATH names another assembler: unset it, or set it alike on all nodes.",
        volatile=True,
    ),
    Rule(
        r"triton\..*",
        "Triton hashes this variable of the environment: unset it, or set it alike on all nodes.",
        volatile=True,
    ),
    Rule(
        r"(?:cuda|gpu|nvidia)\.driver",
        "Another driver: bring the nodes to one version.",
        volatile=True,
    ),
    Rule(
        r"cuda\.(?:multiprocessors|registers|threads|warp)",
        "The same GPU by name with other resources: a partition of it (MIG), or another variant.",
        unless="cuda.device",
    ),
    Rule(r"cuda\.(?:device|capability|multiprocessors|registers|threads|warp)", _MACHINE),
    Rule(r"cuda\.version", "torch was built for another CUDA. Run one image on all nodes."),
    Rule(
        r"cuda\.fp32\..*|matmul\.precision|deterministic.*|default\.dtype|mkldnn|autocast\..*",
        "A mode that the process is in: switch it alike on all nodes, before the model is compiled.",
    ),
    Rule(
        r"cpu\.threads",
        "Inductor puts the number of threads into the code, and it follows the cores that a container gets:"
        " set OMP_NUM_THREADS alike on all nodes.",
        volatile=True,
    ),
    Rule(
        r"cpu\..*",
        "Another CPU: native code is for all that it can do. Compile once on each kind of CPU.",
    ),
    Rule(r"python\..*|libc|machine", "Another base system or Python. Run one image on all nodes."),
    Rule(r"pass\..*", "A custom pass of Inductor's calls itself something else: its code was changed."),
    Rule(
        "configuration",
        "The digest of all of Inductor's settings. One that an environment variable gives"
        " isn't named by itself: compare TORCHINDUCTOR_* of both nodes.",
        volatile=True,
    ),
    Rule(
        r"(?:inductor|functorch|dynamo)\..*",
        "A setting of torch's: set it alike on all nodes, or leave it at its default.",
    ),
    Rule(".*", _AT_ONE_PATH, volatile=True, paths=True),
)


def verdicts(differences: Iterable[FactorDifference]) -> tuple[Verdict, ...]:
    """Return the differences with what is known of each, in their order."""
    told = tuple(differences)
    names = {each.name for each in told}
    return tuple(_verdict(each, names) for each in told)


def is_path(value: str) -> bool:
    """Whether a value looks like a path, or like a name with a slash in it."""
    return _PATH.fullmatch(value.strip('"')) is not None


def _verdict(difference: FactorDifference, names: Collection[str]) -> Verdict:
    rule = next((rule for rule in RULES if _fits(rule, difference, names)), None)
    volatile, advice = (False, "") if rule is None else (rule.volatile, rule.advice)
    settled = difference.name == "configuration" and any(_is_setting(name) for name in names)
    if settled or (difference.name == "scheme_key" and len(names) > 1):
        volatile, advice = False, _WHOLE
    elif not volatile and "." in difference.name and _holds_path(difference):
        volatile, advice = True, f"{advice} {_AT_ONE_PATH}"
    return Verdict(difference.name, difference.ours, difference.theirs, volatile, advice)


def _fits(rule: Rule, difference: FactorDifference, names: Collection[str]) -> bool:
    if rule.unless in names or re.fullmatch(rule.names, difference.name) is None:
        return False
    return not rule.paths or _holds_path(difference)


def _holds_path(difference: FactorDifference) -> bool:
    """Whether both values look like paths, or one does where the other side has none."""
    values = [value for value in (difference.ours, difference.theirs) if value]
    return bool(values) and all(map(is_path, values))


def _is_setting(name: str) -> bool:
    return name.partition(".")[0] in ("inductor", "functorch")
