"""The model level: an AOT file and its pieces, all of them or none.

    vllm:<AOT hash>/rank_0_0 --> model/0000 ...           the AOT file in segments (see `segments`)
                                 pieces/backbone/...      the parts list and its pieces, where they are files

vLLM knows its key before anything is captured. What the store has is put where vLLM looks for it, so that the
next start of this node finds it there without us. It is kept as it is for GPU 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from inductory_client.client import Client
from inductory_client.contract.errors import InductoryError
from inductory_client.contract.manifest import PARTS_LIST
from inductory_client.contract.shape import Shape
from inductory_client.contract.wire import ArtifactWanted
from inductory_client.fetch import DIFFERENCES_NAMED_MAX, Fetched
from inductory_client.foreign import Files, ForeignCache, files_of
from inductory_client.graph.device_source import guarded_gpus
from inductory_client.graph.torch_private import generated_modules, watched_cache_keys
from inductory_client.integrations.vllm_folder.parts_list import (
    complete_parts_list,
    parse_parts_list,
    relocate_parts_list,
)
from inductory_client.integrations.vllm_folder.tree import root_above
from inductory_client.integrations.vllm_folder.writer import FolderWriter
from inductory_client.misses import KeyParts, key_differences

from .counts import Counts
from .factors import gpu_of, key_of, keys_of_others, kin_of, label_of, options_of, target_of
from .model_start import ModelStart
from .segments import cut, joined, named
from .turn import ModelTurns, engine_of, ranks_of, takes_turns

SCHEME = "vllm"
BACKEND = "vllm_aot"
_MODEL, _PIECES, _PIECE = "model", "pieces", "piece"
_RELOCATED = "."
"""What stands for the folder of a parts list while it travels."""

_NAMED_CHARS_MAX = 200
"""Of a difference in the start's one line: a variable's value may be long, and of several lines."""

Load = Callable[[Any, str], Any]


class ModelLevel:
    """Goes around the load and the save of AOT files. One a process; vLLM builds its models one at a time."""

    def __init__(
        self, client: Client, counts: Counts, known: Callable[[], bool], patience_s: float = 0.0
    ) -> None:
        """`known` says, once, whether this vLLM is one that can be gone around; `patience_s` is how long
        another process that compiles a model is waited for.
        """
        self._client = client
        self._counts = counts
        self._known = cache(known)
        self._current: ModelStart | None = None
        self.turns = ModelTurns(client, counts, patience_s)
        self.keyed: Callable[[ModelStart], None] = lambda start: None
        """Told of every model that could be keyed, before anything is loaded."""
        self.restored: Callable[[ModelStart], None] = lambda start: None
        """Told of every model whose files came from the store, before vLLM loads them."""

    def around_load(self, original: Load) -> Load:
        """Return what stands in for vLLM's `_try_load_aot_compiled_fn`."""

        def load(model: Any, aot_compilation_path: str) -> Any:
            if not self._known():
                return original(model, aot_compilation_path)
            path = Path(aot_compilation_path)
            if path.exists():
                loaded = original(model, aot_compilation_path)
                if loaded is not None:
                    return loaded
            start = self._start_of(model, path)
            if start is None:
                return original(model, aot_compilation_path)
            if self._restore(start, path) or self._is_brought(model, start, path):
                self.restored(start)
                with self._at(start):
                    loaded = original(model, aot_compilation_path)
                start.restored = None
                if loaded is None:
                    self._counts.missed_one(_MODEL, "vLLM couldn't load what the store had")
                elif self._runs_here(start):
                    self._counts.served_one(_MODEL)
                    start.cache.loaded(start.key)
                    return loaded
                with self._counts.ours("restore", "a model that can't be loaded isn't taken back"):
                    _take_back(start, path)
            if start.missed:
                self._counts.missed_one(_MODEL, start.missed)
            self._publish_when_saved(model, start, path)
            return original(model, aot_compilation_path) if not path.exists() else None

        return load

    def around_initialize_cache(self, original: Callable[..., None]) -> Callable[..., None]:
        """Return what stands in for `CompilerManager.initialize_cache`."""

        def initialize_cache(
            manager: Any, cache_dir: str, disable_cache: bool = False, prefix: str = ""
        ) -> None:
            start = self._current
            if start is not None and not disable_cache:
                start.folders[prefix] = Path(cache_dir)
                manager.inductory_keys = start.keys.setdefault(prefix, {})
                if start.restored is not None:
                    with self._counts.ours("restore", "the pieces of a model aren't restored"):
                        start.lists += _write_pieces(start.restored, prefix, Path(cache_dir))
            original(manager, cache_dir, disable_cache, prefix)

        return initialize_cache

    def around_insert(self, original: Callable[..., None]) -> Callable[..., None]:
        """Return what stands in for `StandaloneCompiledArtifacts.insert`."""

        def insert(artifacts: Any, submod_name: str, shape: str, entry: bytes) -> None:
            if self._current is not None:
                self._current.pieces.append(entry)
            original(artifacts, submod_name, shape, entry)

        return insert

    def around_compile_graph(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return what stands in for `CompilerManager.compile`, which also finds that it has compiled the same
        before.
        """

        def compile_graph(
            manager: Any,
            graph: Any,
            example_inputs: Any,
            additional_inductor_config: Any,
            compilation_config: Any,
            compile_range: Any,
            graph_index: int = 0,
            num_graphs: int = 1,
            is_encoder: bool = False,
        ) -> Any:
            known: dict[tuple[Shape, int], str] = getattr(manager, "inductory_keys", {})
            place = (int(compile_range.start), int(compile_range.end)), graph_index
            with watched_cache_keys(lambda key: known.update({place: key})):
                return original(
                    manager,
                    graph,
                    example_inputs,
                    additional_inductor_config,
                    compilation_config,
                    compile_range,
                    graph_index,
                    num_graphs,
                    is_encoder,
                )

        return compile_graph

    def around_load_piece(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return what stands in for `InductorStandaloneAdaptor.load`: what several submodules share is loaded
        once.
        """

        def load(
            adaptor: Any,
            handle: tuple[str, str],
            graph: Any,
            example_inputs: Any,
            graph_index: int,
            compile_range: Any,
        ) -> Any:
            loaded = adaptor.__dict__.setdefault("inductory_loaded", {})
            if handle not in loaded:
                loaded[handle] = original(adaptor, handle, graph, example_inputs, graph_index, compile_range)
            return loaded[handle]

        return load

    def _start_of(self, model: Any, path: Path) -> ModelStart | None:
        """Return what is known of a model before it is captured; None where it can't be keyed."""
        with self._counts.ours("key", "this model can't be keyed, and isn't shared", _MODEL):
            config = model.vllm_config
            entries = ForeignCache(
                client=self._client, scheme=SCHEME, backend=BACKEND, target=target_of(config)
            )
            start = ModelStart(
                cache=entries,
                key=key_of(config, path),
                kin=kin_of(config, type(model).__qualname__),
                options=options_of(config),
                label=label_of(config),
                root=str(root_above(path)),
                gpu=gpu_of(config),
            )
            self.keyed(start)
            return start
        return None

    def _restore(self, start: ModelStart, path: Path) -> bool:
        """Put what the store has where vLLM looks for it; whether it is there, whole. `start` has why not."""
        start.missed, start.unpublished = "", False
        with self._counts.ours("restore", "a model isn't restored", _MODEL):
            key = start.cache.artifact_key(start.key)
            wanted = ArtifactWanted(key=key, graph_digest=start.cache.graph_digest(start.kin))
            parts = start.cache.parts(start.key, options=start.options)
            fetched = self._client.fetch(
                [wanted], start.cache.target, describe=lambda _: parts, model=start.label
            )
            piece = fetched.pieces.get(key)
            if piece is None:
                start.unpublished = key not in fetched.refused and fetched.error is None
                start.missed = self._reason(fetched, key, parts, start)
                return False
            files = files_of(piece)
            data = joined(_MODEL, files)
            if data is None:
                start.missed = "the entry has no whole AOT file"
                return False
            if not _has_its_pieces(files):
                start.missed = "the entry lacks pieces of the model"
                return False
            here = start.here(_MODEL, data)
            pieces = {
                name: start.here(_PIECE, data) if _is_piece(name) else data for name, data in files.items()
            }
            FolderWriter(path.parent).write(path.name, here)
            start.restored = pieces
            return True
        return False

    def _is_brought(self, model: Any, start: ModelStart, path: Path) -> bool:
        """Whether another process compiled the model meanwhile, and it is where vLLM looks for it."""
        if not start.unpublished:
            return False
        with self._counts.ours("turn", "whoever compiles this model isn't waited for", free=True):
            if takes_turns(model.vllm_config):
                keyed = start.cache.artifact_key
                return self.turns.take(
                    keyed(start.key),
                    lambda: self._restore(start, path),
                    others=[keyed(each) for each in keys_of_others(start.key, ranks_of(model.vllm_config))],
                    engine=engine_of(model.vllm_config),
                )
        return False

    def _reason(self, fetched: Fetched, key: str, parts: KeyParts, start: ModelStart) -> str:
        """Return why there is no model: the start's line says it."""
        if key in fetched.refused:
            return f"refused: {fetched.refused[key]}"
        if fetched.error is not None:
            return str(fetched.error)
        reason = "nobody has published it"
        nearest = next((miss.nearest for miss in fetched.misses if miss.key == key), None)
        if nearest is None:
            return reason
        differing = nearest.differences
        if not differing:
            # It is of this target, and only its publisher's options tell what vLLM's key has otherwise.
            with suppress(InductoryError), self._client.budget.waiting(share=0.5) as deadline:
                theirs = self._client.reach_store().get_artifact(nearest.key, deadline).subject
                found = key_differences(parts, start.cache.target, theirs)
                differing = tuple(each for each in found if each.name != "scheme_key")
        if not differing:
            return reason
        named = (" ".join(str(each).split()) for each in differing[:DIFFERENCES_NAMED_MAX])
        told = "; ".join(each[:_NAMED_CHARS_MAX] for each in named)
        return f"{reason}; the nearest differs in {told}"

    def _runs_here(self, start: ModelStart) -> bool:
        """Whether what was loaded is for this GPU alone: on another the engine would fail, or worse."""
        with self._counts.ours("check", "which GPU a model is for isn't known, and it is compiled", _MODEL):
            sources = (Path(each).read_text() for each in generated_modules())
            others = set().union(*map(guarded_gpus, sources)) - {start.gpu}
            if others:
                self._counts.missed_one(_MODEL, f"what the store had is for GPU {min(others)}")
            return not others
        return False

    def _publish_when_saved(self, model: Any, start: ModelStart, path: Path) -> None:
        """Publish the model once vLLM has compiled and saved it."""
        began = time.perf_counter()
        save = model.save_aot_compiled_function
        self._current = start  # from here on vLLM captures and compiles this model

        def save_and_publish() -> None:
            start.compile_seconds = time.perf_counter() - began
            start.pieces.clear()
            try:
                save()
            finally:
                self._current = None
                # The instance's method is the class's again.
                with suppress(AttributeError):
                    del model.save_aot_compiled_function
            self._offer(start, path)

        model.save_aot_compiled_function = save_and_publish

    def _offer(self, start: ModelStart, path: Path) -> None:
        with self._counts.ours("publish", "a compiled model isn't published"):
            inside, folders = tuple(start.pieces), dict(start.folders)

            def files() -> Files:
                pieces = [start.travelling(_PIECE, piece) for piece in inside]
                found = named(_MODEL, cut(start.travelling(_MODEL, path.read_bytes()), pieces))
                for prefix, folder in folders.items():
                    found |= _read_pieces(prefix, folder, start)
                return found

            if start.cache.offer_later(
                start.key,
                files,
                sum(map(len, inside)),
                kin=start.kin,
                options=start.options,
                compile_seconds=start.compile_seconds,
            ):
                self._counts.offered_one(_MODEL)
            self.turns.handed_over(start.cache.artifact_key(start.key))
        start.pieces.clear()

    @contextmanager
    def _at(self, start: ModelStart) -> Iterator[None]:
        before, self._current = self._current, start
        try:
            yield
        finally:
            self._current = before


def _read_pieces(prefix: str, folder: Path, start: ModelStart) -> Files:
    """Return the parts list of a folder, made to name its own folder and all submodules, and the files that
    it names.

    Raises Malformed, Unsupported and OSError. Nothing where the model has no parts in files.
    """
    listed = folder / PARTS_LIST
    if not listed.is_file():
        return {}
    data = listed.read_bytes()
    names = sorted({Path(part.path).name for part in parse_parts_list(data) if part.path is not None})
    moved = relocate_parts_list(data, lambda recorded: f"{_RELOCATED}/{Path(recorded).name}")
    moved = complete_parts_list(moved, start.keys.get(prefix, {}))
    files = {name: start.travelling(_PIECE, (folder / name).read_bytes()) for name in names}
    return {f"{_PIECES}/{prefix}/{name}": each for name, each in (files | {PARTS_LIST: moved}).items()}


def _is_piece(name: str) -> bool:
    return name.startswith(f"{_PIECES}/") and not name.endswith(f"/{PARTS_LIST}")


def _has_its_pieces(files: Files) -> bool:
    """Whether every part that a parts list names is there, and a list with every part. Raises Malformed."""
    folders = {name.rpartition("/")[0] for name in files if name.startswith(f"{_PIECES}/")}
    for folder in folders:
        listed = files.get(f"{folder}/{PARTS_LIST}")
        if listed is None:
            return False
        paths = [part.path for part in parse_parts_list(listed) if part.path is not None]
        if any(f"{folder}/{Path(path).name}" not in files for path in paths):
            return False
    return True


def _take_back(start: ModelStart, path: Path) -> None:
    """Remove the AOT file and the parts lists that were restored: the next start would take the one as it is,
    and vLLM fails of a listed part that it can't load. Raises OSError.
    """
    for each in (path, *start.lists):
        each.unlink(missing_ok=True)
    start.lists.clear()


def _write_pieces(files: Files, prefix: str, folder: Path) -> list[Path]:
    """Write the parts of one prefix into vLLM's folder, the parts list last. Raises OSError and Malformed.

    Returns the parts list that was written; none where there is one already.
    """
    above = f"{_PIECES}/{prefix}/"
    mine = {name.removeprefix(above): data for name, data in files.items() if name.startswith(above)}
    listed = mine.pop(PARTS_LIST, None)
    if listed is None or (folder / PARTS_LIST).exists():
        return []
    writer = FolderWriter(folder)
    for name, data in mine.items():
        writer.write(name, data)
    here = relocate_parts_list(listed, lambda recorded: str(folder / Path(recorded).name))
    writer.write(PARTS_LIST, here)
    return [folder / PARTS_LIST]
