"""torch.compile(backend="inductory"): compiled in one process, loaded in another, always right."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch_cases import CASES
from torch_machine import Machine, Ran

NAMES = [name for name in CASES if name != "layers_at_length"]
"""That one is `layers` over again."""

AUTOLOADED = {
    "inductory_client",
    "inductory_client.version",
    "inductory_client.integrations",
    "inductory_client.integrations.torch_autoload",
}
"""What `import torch` alone imports of Inductory, by the entry point for torch's own caches."""


@pytest.fixture(scope="module")
def builder(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("builder"), store_url)


@pytest.fixture(scope="module")
def cold(builder: Machine) -> Ran:
    """All cases, compiled and published by one process."""
    return builder.run("case", *NAMES, PYTHONHASHSEED="1")


def test_a_cold_process_compiles_what_is_right(cold: Ran) -> None:
    assert set(cold.early) == AUTOLOADED, "found by its entry point alone"
    assert set(cold.outcomes) == {"compiled"}, cold.reasons
    assert cold.warnings == []
    assert {name: result["close"] for name, result in cold.results.items()} == dict.fromkeys(NAMES, True)


def test_a_fresh_machine_loads_the_same_and_compiles_nothing(
    cold: Ran, builder: Machine, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, builder.url, (builder.public_key,))
    warm = machine.run("case", *NAMES, compiler=False)
    assert set(warm.outcomes) == {"loaded"}, warm.reasons
    assert warm.keys == cold.keys
    assert warm.results == cold.results, "to the last bit"
    assert machine.compiled_nothing(warm), warm.counters
    assert warm.warnings == []


def test_another_install_prefix_loads_the_native_files_too(
    cold: Ran, builder: Machine, tmp_path: Path
) -> None:
    """torch's include paths are in the names that Inductor gives native files."""
    import torch

    (tmp_path / "elsewhere").symlink_to(Path(torch.__file__).parents[1])
    machine = Machine(tmp_path, builder.url, (builder.public_key,))
    warm = machine.run("case", "layers", compiler=False, PYTHONPATH=str(tmp_path / "elsewhere"))
    assert warm.torch.startswith(str(tmp_path / "elsewhere"))
    assert warm.outcomes == ["loaded"], warm.reasons
    assert warm.results["layers"] == cold.results["layers"]
    assert machine.compiled_nothing(warm)
