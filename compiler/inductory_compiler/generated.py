"""Generated source as it is published: for GPU 0, kernels by name, nothing of its builder.

A kernel's source holds its builder's folder, its device's index, and several kilobytes that a load has no use
for: it is replaced by its name (see `graph.kernel_file`). What a person reads keeps it.
"""

from __future__ import annotations

import ast
import re

from inductory_client.graph.device_source import device_index, on_device
from inductory_client.graph.kernel_file import kernel_name
from inductory_client.graph.unsupported import Unsupported

_KERNEL_MAKERS = frozenset({"triton", "cpp_pybinding", "wait"})
"""What may be asked of `async_compile`: others make kernels that aren't carried, or choose as they run."""

_FOR_BENCHMARKS = frozenset({"benchmark_compiled_module", "get_args"})

_BUILDERS_OWN = re.compile(r"^ *# (kernel path|AOT ID): .*\n", re.MULTILINE)
"""Where a kernel's source lies there, and how many graphs were compiled before."""

_INDEX = re.compile(
    r"(cuda:|_DeviceGuard\(|set_device\(|get_raw_stream\(|\b(?:raw_)?stream|'cuda', index=)\d+\b"
)
"""A GPU's index, in comments too."""


def triton_sources(source: str) -> list[str]:
    """Return the sources of the Triton kernels in generated source. Raises Unsupported for other kinds."""
    return [str(literal.value) for literal in _literals(ast.parse(source))]


def portable(source: str, device: int) -> str:
    """Return generated source for a GPU as it travels. Raises Unsupported for what isn't understood."""
    tree = ast.parse(source)
    for literal in _literals(tree):
        literal.value = kernel_name(str(literal.value))
    tree.body = [statement for statement in tree.body if not _is_for_people(statement)]
    _drop_unused(tree)
    found = device_index(tree)
    if found not in (None, device):
        raise Unsupported(f"code that was compiled for GPU {device} names GPU {found}")
    return ast.unparse(on_device(tree, 0)) + "\n"


def readable(source: str) -> str:
    """Return generated source for people: for GPU 0 and equal for all builders, and otherwise as torch wrote
    it.
    """
    lines = source.splitlines(keepends=True)
    for statement in reversed(ast.parse(source).body):
        if _is_text(statement):  # such as all of its kernels again, as they were benchmarked
            del lines[statement.lineno - 1 : statement.end_lineno]
    return _INDEX.sub(r"\g<1>0", without_builder("".join(lines)))


def without_builder(source: str) -> str:
    """Return generated source as torch wrote it, less the comments that differ from builder to builder."""
    return _BUILDERS_OWN.sub("", source)


def _literals(tree: ast.Module) -> list[ast.Constant]:
    """Return the places of the Triton kernels' sources."""
    found: list[ast.Constant] = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and ast.unparse(node.value) == "async_compile"):
            continue
        if node.attr not in _KERNEL_MAKERS:
            raise Unsupported(f"generated code has a kernel of a kind that isn't carried: {node.attr}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "async_compile.triton":
            literal = node.args[1] if len(node.args) > 1 else None
            if not isinstance(literal, ast.Constant) or not isinstance(literal.value, str):
                raise Unsupported("generated code has a kernel whose source isn't spelt out")
            found.append(literal)
    return found


def _drop_unused(tree: ast.Module) -> None:
    """Take away imports and names for parts of torch that no code uses: most of what a load would import."""
    while True:
        names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
        used = {name.id for name in names if isinstance(name.ctx, ast.Load)}
        kept = [statement for statement in tree.body if not _is_unused(statement, used)]
        if len(kept) == len(tree.body):
            return
        tree.body = kept


def _is_unused(statement: ast.stmt, used: set[str]) -> bool:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        names = [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
        return used.isdisjoint(names)
    return (
        isinstance(statement, ast.Assign)
        and ast.unparse(statement.value).startswith("torch.")
        and isinstance(statement.value, ast.Attribute)
        and all(isinstance(target, ast.Name) and target.id not in used for target in statement.targets)
    )


def _is_for_people(statement: ast.stmt) -> bool:
    """Whether a load has no use for it: what a person reads, or runs to benchmark the code."""
    if isinstance(statement, ast.FunctionDef):
        return statement.name in _FOR_BENCHMARKS
    is_main = isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"
    return is_main or _is_text(statement)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
