"""Places: the functions of vLLM that the plugin goes around, and what they looked like when they were read.

Names and parameters alone, so that they can be compared with a vLLM that is imported and with the sources of
one that isn't. Nothing else of the plugin imports vLLM.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from inductory_client.settings import VllmLevel


@dataclass(frozen=True)
class Place:
    """A function of a module, or a method of one of its classes, with the parameters that are relied on."""

    module: str
    name: str
    """`function`, or `Class.method`."""
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.module}.{self.name}({', '.join(self.parameters)})"

    @property
    def file(self) -> str:
        """Path of the module's source below the folder that holds vLLM."""
        return self.module.replace(".", "/") + ".py"


_COMPILATION = "vllm.compilation"
_REGISTRY = "vllm.model_executor.models.registry"

LOAD_MODEL = Place(
    f"{_COMPILATION}.decorators", "_try_load_aot_compiled_fn", ("model", "aot_compilation_path")
)
MODEL_MADE = Place(
    f"{_COMPILATION}.wrapper",
    "TorchCompileWithNoGuardsWrapper.__init__",
    ("self", "compile_prefix", "is_encoder"),
)
INITIALIZE_CACHE = Place(
    f"{_COMPILATION}.backends",
    "CompilerManager.initialize_cache",
    ("self", "cache_dir", "disable_cache", "prefix"),
)
INSERT_PIECE = Place(
    f"{_COMPILATION}.caching", "StandaloneCompiledArtifacts.insert", ("self", "submod_name", "shape", "entry")
)
COMPILE_GRAPH = Place(
    f"{_COMPILATION}.backends",
    "CompilerManager.compile",
    (
        "self",
        "graph",
        "example_inputs",
        "additional_inductor_config",
        "compilation_config",
        "compile_range",
        "graph_index",
        "num_graphs",
        "is_encoder",
    ),
)
COMPILE = Place(
    f"{_COMPILATION}.compiler_interface",
    "InductorStandaloneAdaptor.compile",
    ("self", "graph", "example_inputs", "compiler_config", "compile_range", "key"),
)
LOAD_PIECE = Place(
    f"{_COMPILATION}.compiler_interface",
    "InductorStandaloneAdaptor.load",
    ("self", "handle", "graph", "example_inputs", "graph_index", "compile_range"),
)
CACHE_ENABLED = Place(
    f"{_COMPILATION}.compiler_interface", "is_compile_cache_enabled", ("vllm_additional_inductor_config",)
)
READ_MODELINFO = Place(_REGISTRY, "_LazyRegisteredModel._load_modelinfo_from_cache", ("self", "module_hash"))
WRITE_MODELINFO = Place(
    _REGISTRY, "_LazyRegisteredModel._save_modelinfo_to_cache", ("self", "mi", "module_hash")
)
MODELINFO_FOLDER = Place(_REGISTRY, "_LazyRegisteredModel._get_cache_dir", ())
MODELINFO_NAME = Place(_REGISTRY, "_LazyRegisteredModel._get_cache_filename", ("self",))
WARMED_UP = Place("vllm.v1.worker.gpu_worker", "Worker.compile_or_warm_up_model", ("self",))

PLACES: dict[VllmLevel, tuple[Place, ...]] = {
    "model": (LOAD_MODEL, INITIALIZE_CACHE, INSERT_PIECE, COMPILE_GRAPH, LOAD_PIECE),
    "submodule": (COMPILE, LOAD_PIECE, CACHE_ENABLED),
    "modelinfo": (READ_MODELINFO, WRITE_MODELINFO, MODELINFO_FOLDER, MODELINFO_NAME),
    "triton": (MODEL_MADE, WARMED_UP),
}
"""What each level relies on."""


def version() -> str:
    """Return vLLM's version."""
    return str(importlib.import_module("vllm").__version__)


def environment() -> Any:
    """Return the module of vLLM's environment variables, as they are now."""
    return importlib.import_module("vllm.envs")


def ready_s() -> float:
    """Return how long vLLM waits for an engine to become ready, where it waits at all."""
    return float(getattr(environment(), "VLLM_ENGINE_READY_TIMEOUT_S", 600))


def compilation_counts() -> dict[str, Any]:
    """Return vLLM's counts of what it compiled, loaded and saved, by name."""
    counter = importlib.import_module("vllm.compilation.counter").compilation_counter
    return dict(vars(counter))


def keeps_pieces_in_model() -> bool:
    """Whether vLLM puts pieces into the AOT file (the mega form) and not into files of their own."""
    return bool(environment().VLLM_USE_MEGA_AOT_ARTIFACT)


def resolve(place: Place) -> Any:
    """Return the function itself. Raises ImportError or AttributeError where it isn't there."""
    found: Any = importlib.import_module(place.module)
    for part in place.name.split("."):
        found = inspect.getattr_static(found, part)
    return found.__func__ if isinstance(found, staticmethod) else found


def go_around(place: Place, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `around(original)` where the original is, once."""
    owner: Any = importlib.import_module(place.module)
    *path, name = place.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    if getattr(original, "inductory", False):
        return
    replacement = around(original)
    replacement.inductory = True  # type: ignore[attr-defined]
    setattr(owner, name, replacement)


def moved(places: Iterable[Place]) -> list[str]:
    """Return those of the places that aren't in the vLLM of this process as they were read, in words."""
    found = []
    for place in places:
        try:
            parameters = tuple(inspect.signature(resolve(place)).parameters)
        except (ImportError, AttributeError, ValueError, TypeError):
            found.append(f"{place.module}.{place.name} isn't there")
            continue
        if parameters != place.parameters:
            found.append(f"{place.module}.{place.name} takes ({', '.join(parameters)})")
    return found


def moved_in_source(places: Iterable[Place], source: Callable[[str], bytes | None]) -> list[str]:
    """Return the same for a vLLM that isn't imported; `source(path)` gives the bytes of one of its files."""
    found = []
    for place in places:
        text = source(place.file)
        node = None if text is None else _definition(ast.parse(text), place.name.split("."))
        if node is None:
            found.append(f"{place.module}.{place.name} isn't there")
        elif (parameters := _parameters(node)) != place.parameters:
            found.append(f"{place.module}.{place.name} takes ({', '.join(parameters)})")
    return found


def _definition(tree: ast.AST, path: list[str]) -> ast.FunctionDef | None:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == path[0]:
            if len(path) > 1:
                return _definition(node, path[1:])
            return node if isinstance(node, ast.FunctionDef) else None
    return None


def _parameters(node: ast.FunctionDef) -> tuple[str, ...]:
    """Return the names in the order of `inspect.signature`."""
    found = node.args
    named = [*found.posonlyargs, *found.args, found.vararg, *found.kwonlyargs, found.kwarg]
    return tuple(each.arg for each in named if each is not None)
