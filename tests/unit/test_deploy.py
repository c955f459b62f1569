"""What users copy from docs, deploy and examples names settings that there are, and can be read."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from inductory_client.cli.command import COMMANDS
from inductory_client.settings import Settings
from inductory_store.routes import health
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


def test_stores_are_reached_where_vllm_asks_and_are_told_what_they_need() -> None:
    config, service, stores, gc = yaml.safe_load_all((ROOT / "deploy" / "store.yaml").read_text())
    assert f"http://{service['metadata']['name']}:8765" in (ROOT / "deploy" / "vllm.yaml").read_text()
    pod = stores["spec"]["template"]
    assert (
        service["spec"]["selector"] == stores["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    )
    (container,) = pod["spec"]["containers"]
    (cleaning,) = gc["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    same = ("image", "envFrom", "env")
    assert [container[name] for name in same] == [cleaning[name] for name in same]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["spec"]["volumes"]}
    environ = {**config["data"], container["env"][0]["name"]: "postgresql://db.example/inductory"}
    settings = StoreSettings.load(environ)
    assert settings.catalog_url == "postgresql://db.example/inductory"
    assert (str(settings.data_dir), settings.port) == (mounts["data"], container["ports"][0]["containerPort"])
    assert settings.bucket is not None
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in {route.path for route in health.router.routes}
    for args in (container["args"], cleaning["args"]):
        assert args[0] == "inductory"
        assert args[1] in COMMANDS


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
