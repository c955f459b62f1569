"""Settings: one typed, frozen object a process, read once at the edge.

Every setting is a field of `Settings`, an environment variable `INDUCTORY_<FIELD>` and a keyword of
`Settings.load`.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from .contract.build import DEFAULT_NAMESPACE, Component, check_namespace
from .contract.digest import is_digest
from .contract.errors import BadSettings, Malformed
from .contract.lease import LEASE_S_MAX
from .trouble import warn_once

PREFIX = "INDUCTORY_"
STORE_PREFIX = "store_"
"""`INDUCTORY_STORE_...` configures the store itself, but for `store_deadline_s`, which is a client's."""

NO_HOME_CONFIG = Path("/etc/inductory")
"""Where the config folder lies of a user without a home; only the superuser puts keys there."""

LAST_BUILD = "last"

MissPolicy = Literal["compile", "wait", "error"]
VllmLevel = Literal["model", "submodule", "modelinfo", "triton"]
VLLM_LEVELS: tuple[VllmLevel, ...] = get_args(VllmLevel)
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client is told. Units stand last in the names."""

    url: str | None = None
    """The store's address; None for no store: the local CAS and local compiles only."""
    namespace: str = DEFAULT_NAMESPACE
    component: str = ""
    """Which part of a model this process runs; empty for a whole model."""
    model: str = ""
    """What people call the model; a label."""
    cache_dir: Path
    cache_bytes_max: int = 10 << 30
    store_deadline_s: float = 2.0
    """All that one start may lose to the store, over all its calls."""
    on_miss: MissPolicy = "compile"
    """What becomes of a piece that nobody has published: compile it, wait while somebody else compiles it, or
    raise an error."""
    wait_deadline_s: float = 600.0
    """Under `wait`, how long one graph waits for what others compile, before it is compiled here, too."""
    lease_s: float = 30.0
    """How long others wait for a process that compiles and isn't heard of any more."""
    publish: bool = True
    drain_s: float = 10.0
    """How long an exit waits for uploads at most."""
    config_dir: Path
    """Holds key.pem, key.pub and trusted/*.pub."""
    trusted_keys: tuple[Path, ...] = ()
    """More public keys, files or folders of them."""
    splitting_ops: tuple[str, ...] = ()
    """Names of more operations to split graphs at."""
    build: str | None = None
    """Key of a build whose bundle is pulled before anything is resolved, or `last` for the one that was last
    published or pulled here under the same namespace, model and component."""
    reproducible: bool = False
    """Compile for GPUs so that any two builders make the same bytes; see `graph.reproducible`."""
    vllm: tuple[VllmLevel, ...] = VLLM_LEVELS
    """What vLLM's plugin serves: whole models, submodules, model-class inspection, Triton kernels."""
    torch_cache: bool = False
    """Serve stock torch.compile's remote caches in every process that imports torch."""
    disabled: bool = False
    """Behave as stock Inductor."""

    @property
    def patience_s(self) -> float:
        """How long others are waited for that compile what is missing here."""
        return self.wait_deadline_s if self.on_miss == "wait" else 0.0

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
        """Read `INDUCTORY_*` from `environ`, then `overrides` by field name; an override of None isn't one.

        Raises BadSettings for a value that makes no sense and for an unknown override, naming the nearest
        known one. An unknown environment variable is only warned about, once: a serving process mustn't die
        of it.
        """
        given: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX) or not text:
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name in _READERS:
                given[name] = _read(name, text, variable)
            else:
                _warn_of_unknown(variable, name)
        for name, value in overrides.items():
            if name not in _READERS:
                raise BadSettings(f"there is no setting {name!r}{_nearest(name)}")
            if value is not None:
                given[name] = _read(name, value, name)
        if "cache_dir" not in given:
            given["cache_dir"] = _home(environ, "XDG_CACHE_HOME", ".cache") or _temporary_cache()
        if "config_dir" not in given:
            given["config_dir"] = _home(environ, "XDG_CONFIG_HOME", ".config") or NO_HOME_CONFIG
        return cls(**given)


def _home(environ: Mapping[str, str], variable: str, fallback: str) -> Path | None:
    """Return our folder below an XDG base folder; None where there is no home."""
    base = environ.get(variable, "")
    if os.path.isabs(base):
        return Path(base, "inductory")
    home = environ.get("HOME") or os.path.expanduser("~")
    if os.path.isabs(home):
        return Path(home, fallback, "inductory")
    return None


def _temporary_cache() -> Path:
    """Where the cache of a user without a home lies: nothing in it is trusted, so unlike keys it may lie
    where anybody could have been first.
    """
    return Path(tempfile.gettempdir(), f"inductory-{os.geteuid()}", "cache")


def _warn_of_unknown(variable: str, name: str) -> None:
    nearest = _nearest(name, PREFIX)
    if nearest or not name.startswith(STORE_PREFIX):
        warn_once(f"settings:{variable}", "%s is not a setting%s", variable, nearest)


def nearest_setting(name: str) -> str | None:
    """Return the field that is spelt much like `name`, None where there is none."""
    import difflib

    return next(iter(difflib.get_close_matches(name, _READERS, n=1, cutoff=0.75)), None)


def _nearest(name: str, prefix: str = "") -> str:
    """Return "; did you mean ...?" where a known setting is spelt much like `name`, else nothing."""
    found = nearest_setting(name)
    if found is None:
        return ""
    return f"; did you mean {prefix + found.upper() if prefix else found}?"


def _read(name: str, value: Any, called: str) -> Any:
    try:
        return _READERS[name](value)
    except (ValueError, TypeError, msgspec.ValidationError) as error:
        raise BadSettings(f"{called}={value!r}: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("this is text")
    return value


def _url(value: Any) -> str | None:
    text = _text(value).rstrip("/")
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write http://host:port or https://host")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("the address has no user, no query and no fragment")
    _ = parts.port  # raises ValueError where it isn't a number
    return text


def _namespace(value: Any) -> str:
    try:
        return check_namespace(_text(value))
    except Malformed as error:
        raise ValueError(error.message) from error


def _path(value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError("this is a path")
    return Path(os.path.abspath(os.path.expanduser(value)))


def _paths(value: Any) -> tuple[Path, ...]:
    parts = value.split(os.pathsep) if isinstance(value, str) else _sequence(value)
    return tuple(_path(part) for part in parts if part)


def _texts(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else _sequence(value)
    return tuple(_text(part).strip() for part in parts if _text(part).strip())


def _sequence(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError("this is a list")
    return tuple(value)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in _TRUE + _FALSE:
        raise ValueError("write 1 or 0")
    return text in _TRUE


def _seconds(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("this is a number of seconds")
    seconds = float(value)
    if not 0 <= seconds <= 86_400:
        raise ValueError("seconds lie between 0 and a day")
    return seconds


def _lease_seconds(value: Any) -> float:
    seconds = _seconds(value)
    if not 1 <= seconds <= LEASE_S_MAX:
        raise ValueError(f"a lease lasts between 1 and {LEASE_S_MAX:.0f} seconds")
    return seconds


def _bytes(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("this is a number of bytes")
    text = str(value).strip()
    unit = next((unit for unit in _UNITS if text.endswith(unit)), None)
    number = float(text.removesuffix(unit)) * _UNITS[unit] if unit else int(text)
    if not 0 <= number < math.inf:
        raise ValueError("write a number of bytes, or say 10GiB")
    return int(number)


def _build(value: Any) -> str:
    if not is_digest(_text(value)) and value != LAST_BUILD:
        raise ValueError(f"a build key has 64 lower-case hex digits; `{LAST_BUILD}` stands for the last one")
    return str(value)


def _miss_policy(value: Any) -> MissPolicy:
    if value not in get_args(MissPolicy):
        raise ValueError("write compile, wait or error")
    policy: MissPolicy = value
    return policy


def _vllm_levels(value: Any) -> tuple[VllmLevel, ...]:
    levels = _texts(value)
    unknown = [level for level in levels if level not in VLLM_LEVELS]
    if unknown and levels != ("off",):
        raise ValueError(f"write off, or some of {','.join(VLLM_LEVELS)}")
    return tuple(level for level in VLLM_LEVELS if level in levels)


_READERS: dict[str, Callable[[Any], Any]] = {
    "url": _url,
    "namespace": _namespace,
    "component": lambda value: msgspec.convert(value, Component),
    "model": _text,
    "cache_dir": _path,
    "cache_bytes_max": _bytes,
    "store_deadline_s": _seconds,
    "on_miss": _miss_policy,
    "wait_deadline_s": _seconds,
    "lease_s": _lease_seconds,
    "publish": _flag,
    "drain_s": _seconds,
    "config_dir": _path,
    "trusted_keys": _paths,
    "splitting_ops": _texts,
    "build": _build,
    "reproducible": _flag,
    "vllm": _vllm_levels,
    "torch_cache": _flag,
    "disabled": _flag,
}
