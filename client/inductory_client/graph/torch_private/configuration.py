"""The settings of torch that decide code."""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch

from inductory_client.contract.digest import digest_of


@functools.cache
def torch_key() -> str:
    """Return the digest of torch's own sources, as Inductor makes it (0.5 s, once a process)."""
    from torch._inductor.codecache import torch_key as key

    return key().hex()


def import_keys() -> None:
    """Import what `torch_key` and `triton_key` are made by."""
    import torch._inductor.codecache

    with contextlib.suppress(ImportError):
        import torch._inductor.runtime.triton_compat  # noqa: F401


# Settings of caches, checks and messages: they change how code is found, and not what it is.
_HARMLESS = frozenset({"inductor.cpp.vec_isa_ok", "inductor.cpp_cache_precompile_headers",
                       "functorch.bundled_autograd_cache", "functorch.enable_autograd_cache",
                       "functorch.strict_autograd_cache", "inductor.force_disable_caches",
                       "inductor.bundle_triton_into_fx_graph_cache", "inductor.developer_warnings",
                       "inductor.verbose_progress", "inductor._profile_var"})  # fmt: skip


# The same for remote caches, which `serve_torch_caches` switches on. They stand in keys as torch has them:
# without them, what was published before would be orphaned.
_OF_REMOTE_CACHES = dict.fromkeys(("functorch.enable_remote_autograd_cache",
                                   "inductor.bundled_autotune_remote_cache"))  # fmt: skip


def configuration() -> dict[str, Any]:
    """Return every setting of Inductor and functorch that may decide code, by dotted name.

    All of them, and not only what differs from the default: for settings that an environment variable gives
    (CPP_WRAPPER, FREEZING and some 190 more), that variable *is* the default. Settings that torch itself
    leaves out of its cache keys (paths, thread counts of the compiler) are left out here.
    """
    import torch._functorch.config
    import torch._inductor.config

    modules = (("inductor", torch._inductor.config), ("functorch", torch._functorch.config))
    found = {
        f"{name}.{key}": value
        for name, module in modules
        for key, value in module.save_config_portable(ignore_private_configs=False).items()
        if f"{name}.{key}" not in _HARMLESS and "_config_" not in key and not key.startswith("_save_")
    }
    return {name: _OF_REMOTE_CACHES.get(name, value) for name, value in found.items()}


def configured_defaults() -> dict[str, Any]:
    """Return the defaults of `configuration`, with the environment variables that were set at import."""
    import torch._functorch.config
    import torch._inductor.config

    modules = (("inductor", torch._inductor.config), ("functorch", torch._functorch.config))
    found = {
        f"{name}.{key}": entry.default for name, module in modules for key, entry in module._config.items()
    }
    return found | _OF_REMOTE_CACHES


def freezes_weights() -> bool:
    import torch._inductor.config

    return bool(torch._inductor.config.freezing)


def fills_uninitialised_memory() -> bool:
    """Whether deterministic mode fills new tensors, which puts a fill into the code."""
    return bool(torch.utils.deterministic.fill_uninitialized_memory)


def custom_passes() -> dict[str, Any]:
    """Return the custom passes that are set, by name; each says who it is by `uuid()`."""
    import torch._inductor.config as config

    names = ("post_grad_custom_pre_pass", "post_grad_custom_post_pass", "joint_custom_pre_pass",
             "joint_custom_post_pass", "pre_grad_custom_pass", "_pre_fusion_custom_pass",
             "_post_fusion_custom_pass", "custom_partitioner_fn")  # fmt: skip
    return {name: getattr(config, name) for name in names if getattr(config, name, None) is not None}


def triton_key() -> str:
    """Return the digest of Triton's own key, which has a part a file; "absent" where Triton isn't
    installed.
    """
    try:
        from torch.utils._triton import has_triton_package

        if not has_triton_package():
            return "absent"
        from torch._inductor.runtime.triton_compat import triton_key as key

        return digest_of(str(key()).encode())
    except ImportError:
        return "absent"
