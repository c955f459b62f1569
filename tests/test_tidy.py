"""The house rules that a machine can check: who imports whom, what lies about, what documents name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "inductory_client": ROOT / "client",
    "inductory_store": ROOT / "store",
    "inductory_compiler": ROOT / "compiler",
}
LINES_MAX = 400
TORCH_PRIVATE = {
    "inductory_client.graph.torch_private": "the one package for torch's private names",
    "inductory_client.graph.torch_stock": "what remains where one of those has moved: stock Inductor",
    "inductory_client.graph.torch_remote": "what acts while torch is imported, and can't import the first",
}
"""Modules that may use torch's private names, and why. Add one only where the first can't do it."""

SEAMS = {
    "inductory_client.cli.serve": "inductory_store",
    "inductory_client.cli.scrubbing": "inductory_store",
    "inductory_client.cli.gc": "inductory_store",
    "inductory_client.cli.compile": "inductory_compiler",
    "inductory_client.graph.compiling": "inductory_compiler",
}
"""Where the client reaches another package: by an import in a function, or a name that is imported."""

FOR_TESTS = {"inductory_store.blobs.memory"}
"""Modules that are there to be tried out and tested with."""

RUN_CODE = {
    "inductory_client.graph.torch_private.guards": {"pickle.loads"},
    "inductory_client.graph.torch_private.entries": {"pickle.loads"},
    "inductory_client.graph.load": {"compile", "exec"},
    "inductory_client.graph.torch_private.gpu": {"CDLL", "ctypes.CDLL"},
    # The C library that the process has already.
    "inductory_store.serve": {"CDLL", "ctypes.CDLL"},
    "inductory_client.graph.kernel_file": {"compile", "exec"},
    "inductory_client.graph.native": {"ExtensionFileLoader", "spec_from_file_location"},
}
"""Where bytes become code, by how: each only after signature and digest were checked."""

CONTRACT_MAY_IMPORT = {"msgspec", "xxhash", "cryptography", "backports", "compression"}

TORCH_SIDE = tuple(
    f"inductory_client.{name}" for name in ("graph", "integrations.torch_backend", "integrations.vllm.")
)
"""Modules that import torch, and are themselves imported only when used."""

HEAVY = {
    *("torch", "numpy", "sympy", "triton", "transformers"),
    *("fastapi", "starlette", "sqlalchemy", "alembic", "pydantic", "uvicorn", "jinja2"),
    *("httpx", "urllib3", "requests", "asyncio", "http.client"),
    *("cryptography", "msgspec", "argparse", "logging.config"),
}


class Import(NamedTuple):
    name: str
    """Absolute; what a `from` brings is in it: `from a import b` is `a.b`."""
    deferred: bool
    """Inside a function, or for the type checker only."""


class Module(NamedTuple):
    name: str
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]

    def in_package(self, package: str) -> bool:
        return within(self.name, package)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def module_name(path: Path, base: Path) -> str:
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def find_imports(node: ast.AST, package: list[str], deferred: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package[: len(package) - child.level + 1] if child.level else []
            base = ".".join([*above, *([child.module] if child.module else [])])
            yield from (Import(f"{base}.{alias.name}", deferred) for alias in child.names)
        else:
            later = deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from find_imports(child, package, later or is_type_checking(child))


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for package, base in PACKAGES.items():
        for path in sorted((base / package).rglob("*.py")):
            name, tree = module_name(path, base), ast.parse(path.read_bytes())
            parent = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            found.append(Module(name, path, tree, tuple(find_imports(tree, parent))))
    return tuple(found)


def strings(module: Module) -> set[str]:
    constants = (node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


@cache
def texts() -> dict[Path, str]:
    """Every text file that is, or is about to be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    found = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file():
            try:
                found[path] = path.read_text("utf-8")
            except UnicodeDecodeError:
                continue
    return found


def broken(rule: Iterator[str]) -> None:
    offences = sorted(set(rule))
    assert not offences, "\n" + "\n".join(offences)


def test_the_walk_finds_the_packages() -> None:
    names = {module.name for module in modules()}
    assert {"inductory_client.contract.key", "inductory_store", "inductory_compiler"} <= names
    key = next(module for module in modules() if module.name == "inductory_client.contract.key")
    assert Import("inductory_client.contract.shape.Shape", False) in key.imports


def test_the_store_knows_the_contract_only() -> None:
    broken(
        f"{module.name} imports {found.name}"
        for module in modules()
        if module.in_package("inductory_store")
        for found in module.imports
        if within(found.name, "torch")
        or within(found.name, "inductory_compiler")
        or (within(found.name, "inductory_client") and not within(found.name, "inductory_client.contract"))
    )


def test_the_client_imports_torch_only_when_used() -> None:
    def may(module: Module) -> bool:
        return module.in_package("inductory_client.graph") or module.name.startswith(TORCH_SIDE)

    broken(
        f"{module.name} imports {found.name} at module level"
        for module in modules()
        if module.in_package("inductory_client") and not may(module)
        for found in module.imports
        if within(found.name, "torch") and not found.deferred
    )


def test_nothing_outside_graph_and_the_torch_entry_pulls_torch_in() -> None:
    """A module that imports torch on import is itself imported only when used."""
    broken(
        f"{module.name} imports {found.name} at module level"
        for module in modules()
        if module.in_package("inductory_client") and not module.name.startswith(TORCH_SIDE)
        for found in module.imports
        if found.name.startswith(TORCH_SIDE) and not found.deferred
    )


def test_the_client_reaches_store_and_compiler_at_its_seams_only() -> None:
    def reached(module: Module) -> Iterator[Import]:
        yield from module.imports
        yield from (Import(text, True) for text in strings(module) if re.fullmatch(r"[\w.]+", text))

    broken(
        f"{module.name} reaches {found.name}"
        for module in modules()
        if module.in_package("inductory_client")
        for found in reached(module)
        for other in ("inductory_store", "inductory_compiler")
        if within(found.name, other) and not (SEAMS.get(module.name) == other and found.deferred)
    )


def test_the_compiler_never_imports_the_store() -> None:
    broken(
        f"{module.name} imports {found.name}"
        for module in modules()
        if module.in_package("inductory_compiler")
        for found in module.imports
        if within(found.name, "inductory_store")
    )


def test_the_contract_stands_on_little() -> None:
    may = CONTRACT_MAY_IMPORT | sys.stdlib_module_names
    broken(
        f"{module.name} imports {found.name}"
        for module in modules()
        if module.in_package("inductory_client.contract")
        for found in module.imports
        if found.name.split(".")[0] not in may and not within(found.name, "inductory_client.contract")
    )


def private_names(module: Module) -> Iterator[str]:
    """Imports of, and attribute chains from `torch` through, a name that begins with an underscore."""

    def is_private(dotted: str) -> bool:
        first, *rest = dotted.split(".")
        return first == "torch" and any(part.startswith("_") and not part.endswith("__") for part in rest)

    yield from (found.name for found in module.imports if is_private(found.name))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and is_private(dotted := ast.unparse(node)):
            yield dotted


def test_torchs_private_names_live_in_one_module() -> None:
    broken(
        f"{module.name} uses {name}"
        for module in modules()
        if not any(module.in_package(name) for name in TORCH_PRIVATE)
        for name in private_names(module)
    )


def test_bytes_become_code_in_few_places() -> None:
    builtin = {"exec", "eval", "compile", "__import__"}
    ways = {"CDLL", "PyDLL", "Unpickler", "ExtensionFileLoader", "spec_from_file_location"}
    ways |= {f"{module}.{call}" for module in ("pickle", "marshal", "torch") for call in ("load", "loads")}

    def found(module: Module) -> Iterator[str]:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Name | ast.Attribute):
                dotted = ast.unparse(node)
                yield from {dotted} & builtin | {dotted, dotted.rpartition(".")[2]} & ways

    broken(
        f"{module.name} uses {way}"
        for module in modules()
        for way in found(module)
        if way not in RUN_CODE.get(module.name, set())
    )


def entry_points() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    version = module_name(ROOT / settings["tool"]["hatch"]["version"]["path"], PACKAGES["inductory_client"])
    groups = [project.get("scripts", {}), *project.get("entry-points", {}).values()]
    return {version} | {target.split(":")[0] for group in groups for target in group.values()}


def test_every_module_is_used() -> None:
    """By an import, by an entry point, or by its full name in a string (which is how a verb is found)."""
    used = entry_points()
    for module in modules():
        for found in module.imports:
            # A package that gives out what its modules hold uses them.
            if module.path.name == "__init__.py" or not within(found.name, module.name):
                used |= {found.name, found.name.rpartition(".")[0]}
        used |= strings(module)
    broken(
        f"{module.name} is used by nothing"
        for module in modules()
        if module.path.name not in ("__init__.py", "__main__.py") and module.name not in used | FOR_TESTS
    )


def test_nothing_is_left_to_do() -> None:
    marker = re.compile(r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X)\b")
    broken(
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path, text in texts().items()
        for found in marker.finditer(text)
    )


def test_no_file_grows_past_a_few_screens() -> None:
    lines = {
        str(path.relative_to(ROOT)): text.count("\n")
        for path, text in texts().items()
        if path.suffix == ".py"
    }
    broken(f"{name} has {count} lines" for name, count in lines.items() if count > LINES_MAX)


def test_test_modules_have_names_of_their_own() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    broken(name for name, count in names.items() if count > 1)


def test_no_test_sleeps() -> None:
    def sleeps(tree: ast.AST) -> bool:
        return any(
            (isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.sleep", "asyncio.sleep"))
            or (
                isinstance(node, ast.ImportFrom)
                and node.module == "time"
                and any(a.name == "sleep" for a in node.names)
            )
            for node in ast.walk(tree)
        )

    broken(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if sleeps(ast.parse(path.read_bytes()))
    )


def test_no_generated_file_is_kept() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    generated = re.compile(
        r"(^|/)(build|dist|\.venv|__pycache__|inductory-data)/|\.(pyc|so|o|egg-info|db|sqlite3?|log|pem)$"
    )
    broken(name for name in listed.splitlines() if generated.search(name))


def test_no_machine_is_named() -> None:
    place = re.compile(r"(?<![\w.])/(ro" + r"ot|ho" + r"me|wo" + r"rk)/")
    broken(
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path, text in texts().items()
        for found in place.finditer(text)
    )


@pytest.mark.parametrize("statement", ["import inductory_client", "import inductory_client.contract.errors"])
def test_the_first_import_is_light(statement: str) -> None:
    code = f"{statement}, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not HEAVY & set(loaded)


def test_a_store_without_a_bucket_never_imports_what_speaks_s3() -> None:
    """It takes half a second and 40 MB."""
    code = "import inductory_store.serve, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"boto3", "botocore"} & set(loaded.split())


def test_the_documents_name_only_what_is_there() -> None:
    """A link leads to a file, and a `path/with.suffix` in backticks is the end of a file's path."""
    link, path_in_backticks = (
        re.compile(r"\]\((?!https?:)([^)#\s]+)"),
        re.compile(r"`([\w.-]+(?:/[\w.-]+)+\.\w+)`"),
    )
    paths = [f"/{path.relative_to(ROOT)}" for path in texts()]

    def offences() -> Iterator[str]:
        for document, text in texts().items():
            if document.suffix == ".md":
                yield from (
                    f"{document.name}: {name}"
                    for name in link.findall(text)
                    if not (document.parent / name).exists()
                )
                yield from (
                    f"{document.name}: {name}"
                    for name in path_in_backticks.findall(text)
                    if not any(path.endswith(f"/{name}") for path in paths)
                )

    broken(offences())
