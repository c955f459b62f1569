"""What tests of Triton's cache run in processes of their own: `python triton_program.py`.

It reads lists of jobs, one in a line: [{"environ": ..., "answer": a file, and what is to be done}]. All of a
list run at the same time, each in a process that has imported Triton and nothing of ours, and write their
answers. When they have ended, their exit statuses are printed.
"""

from __future__ import annotations

import importlib.machinery
import json
import logging
import multiprocessing
import os
import signal
import sys
import sysconfig
from hashlib import sha256
from pathlib import Path
from typing import Any

import triton
from inductory_client.integrations.cubin import without_debug_text
from triton.backends.compiler import GPUTarget
from triton.runtime.build import compile_module_from_src
from triton.runtime.cache import triton_key

H200 = GPUTarget("cuda", 90, 32)
NATIVE = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "launcher", "a launcher", -1, NULL};
PyMODINIT_FUNC PyInit_launcher(void) { return PyModule_Create(&module); }
"""


class Heard(logging.Handler):
    """What was logged, from warnings on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def do(job: dict[str, Any]) -> dict[str, Any]:
    heard = Heard()
    logging.getLogger("inductory").addHandler(heard)
    answer: dict[str, Any] = {"compiled": [], "kernels": {}}

    def listen(*, src: Any, cache_hit: bool, **_: Any) -> None:
        if not cache_hit:
            answer["compiled"].append(src.name)

    triton.knobs.compilation.listener = listen
    if job.get("install"):
        from inductory_client.integrations.triton_cache import install

        answer["installed"] = install()
    answer["resolves"] = count_resolves()
    if "prefetch" in job:
        from inductory_client.integrations.triton_cache import prefetch

        answer["prefetched"] = prefetch(job["prefetch"])
    for name in job.get("kernels", ()):
        answer["kernels"][name] = kernel(name)
    if job.get("native"):
        answer["native"] = native()
    if "in_worker" in job:
        worker = multiprocessing.get_context("fork").Process(target=kernel, args=(job["in_worker"],))
        worker.start()
        worker.join()
    if "used" in job:
        from inductory_client.integrations.triton_cache import used_keys

        answer["used"] = sorted(used_keys())
    answer["resolves"] = len(answer["resolves"])
    answer["log"] = heard.lines
    return answer


def kernel(name: str) -> dict[str, Any]:
    import triton_kernels

    signature = {"source": "*fp32", "target": "*fp32"}
    constants = {}
    if name == "unclear":
        signature, constants = {**signature, "flag": "constexpr"}, {"flag": False}
    source = triton.compiler.ASTSource(getattr(triton_kernels, name), signature, constants)
    made = triton.compile(source, target=H200)
    paths = {file: str(path) for file, path in made.metadata_group.items()}
    return {
        "asm": sorted(made.asm),
        "cubin": sha256(without_debug_text(made.asm["cubin"])).hexdigest(),
        "metadata": Path(paths[f"{name}.json"]).read_text(),
        "paths": paths,
    }


def native() -> str:
    module = compile_module_from_src(NATIVE, "launcher")
    assert isinstance(module.__loader__, importlib.machinery.ExtensionFileLoader)
    assert str(module.__file__).endswith(sysconfig.get_config_var("EXT_SUFFIX"))
    return sha256(Path(str(module.__file__)).read_bytes()).hexdigest()


def count_resolves() -> list[int]:
    """Return a list that grows by each question to the store."""
    from inductory_client.transport import HttpStore

    asked: list[int] = []
    stock = HttpStore.resolve

    def resolve(self: HttpStore, *arguments: Any) -> Any:
        asked.append(1)
        return stock(self, *arguments)

    HttpStore.resolve = resolve  # type: ignore[method-assign]
    return asked


def begin(job: dict[str, Any]) -> int:
    """Do a job in a process of its own, and return its id."""
    pid = os.fork()
    if pid:
        return pid
    for name, text in job["environ"].items():
        if text:
            os.environ[name] = text
        else:
            os.environ.pop(name, None)
    answer = do(job)
    Path(job["answer"]).write_text(json.dumps(answer))
    if job.get("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit()


def main() -> None:
    triton_key()
    for line in sys.stdin:
        jobs = json.loads(line)
        pids = [begin(job) for job in jobs]
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]), flush=True)


if __name__ == "__main__":
    main()
