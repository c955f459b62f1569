"""What users copy from docs, deploy and examples names settings that there are, and can be read."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from inductory_client.settings import Settings
from inductory_store.settings import StoreSettings

ROOT = Path(__file__).parents[2]
TEXTS = sorted(
    path
    for folder in ("docs", "deploy", "examples")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".md", ".yaml", ".py", ".service")
)
SETTINGS = {f"INDUCTORY_{name.upper()}" for name in Settings.__struct_fields__} | {
    f"INDUCTORY_STORE_{field.name.upper()}" for field in fields(StoreSettings)
}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_that_is_named_is_one(path: Path) -> None:
    named = set(re.findall(r"\bINDUCTORY_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()))
    assert named <= SETTINGS, sorted(named - SETTINGS)


def test_the_deployment_mounts_what_it_names() -> None:
    (deployment,) = yaml.safe_load_all((ROOT / "deploy" / "vllm.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    environ = {each["name"]: each["value"] for each in container["env"]}
    folders = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert environ["INDUCTORY_CACHE_DIR"] in folders
    assert f"{environ['INDUCTORY_CONFIG_DIR']}/key.pem" in folders
