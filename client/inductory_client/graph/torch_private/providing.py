"""Where generated source gets its kernels from: the two places of torch that are asked, and who answers."""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol


class KernelProvider(Protocol):
    """Supplies generated source with its kernels, or with futures of them."""

    def native(self, argtypes: list[str], source: str, stock: Callable[[str], Any]) -> Any:
        """Return the function that a C++ source is compiled to; `stock` is what torch would do with one."""
        ...

    def triton(self, name: str, source: str, stock: Callable[[], Any]) -> Any:
        """Return what launches a Triton kernel by `run(*arguments, stream=...)`; `stock` compiles it."""
        ...


_PROVIDER: ContextVar[KernelProvider | None] = ContextVar("inductory_kernels", default=None)


@contextlib.contextmanager
def provided_kernels(provider: KernelProvider) -> Iterator[None]:
    """While generated source runs in this context, have `provider` supply its kernels."""
    _install_hooks()
    token = _PROVIDER.set(provider)
    try:
        yield
    finally:
        _PROVIDER.reset(token)


@functools.cache
def _install_hooks() -> None:
    from torch._inductor.async_compile import AsyncCompile

    stock_native, stock_triton = AsyncCompile.cpp_pybinding, AsyncCompile.triton

    @functools.wraps(stock_native)
    def cpp_pybinding(self: Any, argtypes: list[str], source_code: str) -> Any:
        provider = _PROVIDER.get()
        if provider is None:
            return stock_native(self, argtypes, source_code)
        return provider.native(argtypes, source_code, functools.partial(stock_native, self, argtypes))

    @functools.wraps(stock_triton)
    def triton(self: Any, kernel_name: str, source_code: str, device_str: str = "cuda") -> Any:
        provider = _PROVIDER.get()
        stock = functools.partial(stock_triton, self, kernel_name, source_code, device_str)
        return stock() if provider is None else provider.triton(kernel_name, source_code, stock)

    AsyncCompile.cpp_pybinding, AsyncCompile.triton = cpp_pybinding, triton
