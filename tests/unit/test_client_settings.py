from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from inductory_client.contract.errors import BadSettings
from inductory_client.settings import Settings
from inductory_client.trouble import forget_warnings

HOME = {"HOME": "/nowhere"}


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


def test_defaults_lie_below_the_home_folder() -> None:
    found = Settings.load(HOME)
    assert found.url is None
    assert found.namespace == "default"
    assert found.cache_dir == Path("/nowhere/.cache/inductory")
    assert found.config_dir == Path("/nowhere/.config/inductory")
    assert (found.store_deadline_s, found.on_miss, found.publish, found.disabled) == (
        2.0,
        "compile",
        True,
        False,
    )


def test_xdg_folders_are_used_if_absolute() -> None:
    found = Settings.load({**HOME, "XDG_CACHE_HOME": "/fast", "XDG_CONFIG_HOME": "relative"})
    assert found.cache_dir == Path("/fast/inductory")
    assert found.config_dir == Path("/nowhere/.config/inductory")


def test_every_setting_has_a_variable_and_an_override() -> None:
    variables = {
        "INDUCTORY_URL": "http://store:8765/",
        "INDUCTORY_NAMESPACE": "team",
        "INDUCTORY_COMPONENT": "draft",
        "INDUCTORY_MODEL": "Qwen3",
        "INDUCTORY_CACHE_DIR": "/cache",
        "INDUCTORY_CACHE_BYTES_MAX": "2GiB",
        "INDUCTORY_STORE_DEADLINE_S": "0.5",
        "INDUCTORY_ON_MISS": "error",
        "INDUCTORY_PUBLISH": "0",
        "INDUCTORY_DRAIN_S": "1",
        "INDUCTORY_WAIT_DEADLINE_S": "5",
        "INDUCTORY_LEASE_S": "5",
        "INDUCTORY_CONFIG_DIR": "/config",
        "INDUCTORY_TRUSTED_KEYS": os.pathsep.join(["/a.pub", "/keys"]),
        "INDUCTORY_SPLITTING_OPS": "a::b, c::d",
        "INDUCTORY_BUILD": "ab" * 32,
        "INDUCTORY_REPRODUCIBLE": "on",
        "INDUCTORY_VLLM": "submodule, model",
        "INDUCTORY_TORCH_CACHE": "1",
        "INDUCTORY_DISABLED": "yes",
    }
    found = Settings.load(variables)
    assert found == Settings(
        url="http://store:8765",
        namespace="team",
        component="draft",
        model="Qwen3",
        cache_dir=Path("/cache"),
        cache_bytes_max=2 << 30,
        store_deadline_s=0.5,
        on_miss="error",
        publish=False,
        drain_s=1.0,
        wait_deadline_s=5.0,
        lease_s=5.0,
        config_dir=Path("/config"),
        trusted_keys=(Path("/a.pub"), Path("/keys")),
        splitting_ops=("a::b", "c::d"),
        build="ab" * 32,
        reproducible=True,
        vllm=("model", "submodule"),
        torch_cache=True,
        disabled=True,
    )
    assert set(variables) == {"INDUCTORY_" + name.upper() for name in Settings.__struct_fields__}
    values = {name: getattr(found, name) for name in Settings.__struct_fields__}
    assert Settings.load({}, **values) == found


def test_an_override_wins_and_none_is_none() -> None:
    found = Settings.load({**HOME, "INDUCTORY_URL": "http://a", "INDUCTORY_MODEL": "m"}, url="", model=None)
    assert found.url is None
    assert found.model == "m"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", "store:8765"),
        ("url", "ftp://store"),
        ("url", "http://user:secret@store"),
        ("url", "http://store:port"),
        ("namespace", "No Spaces"),
        ("cache_bytes_max", "a lot"),
        ("cache_bytes_max", "-1"),
        ("store_deadline_s", "soon"),
        ("store_deadline_s", "nan"),
        ("store_deadline_s", "-1"),
        ("store_deadline_s", True),
        ("on_miss", "hope"),
        ("lease_s", "0.5"),
        ("lease_s", "601"),
        ("publish", "perhaps"),
        ("build", "abc"),
        ("build", "latest"),
        ("cache_dir", 3),
        ("splitting_ops", 3),
    ],
)
def test_a_senseless_value_is_refused_and_named(name: str, value: object) -> None:
    with pytest.raises(BadSettings, match=name):
        Settings.load(HOME, **{name: value})


def test_an_unknown_override_names_the_nearest() -> None:
    with pytest.raises(BadSettings, match="did you mean cache_dir"):
        Settings.load(HOME, cache_dri="/x")


def test_an_unknown_variable_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "inductory"):
        for _ in range(2):
            Settings.load({**HOME, "INDUCTORY_CACHE_DRI": "/x"})
    assert [record.getMessage() for record in caplog.records] == [
        "INDUCTORY_CACHE_DRI is not a setting; did you mean INDUCTORY_CACHE_DIR?"
    ]


def test_the_stores_own_variables_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "inductory"):
        Settings.load({**HOME, "INDUCTORY_STORE_DATA_DIR": "/x", "INDUCTORY_STORE_PORT": "1"})
        assert not caplog.records
        Settings.load({**HOME, "INDUCTORY_STORE_DEADLNE_S": "1"})
        assert len(caplog.records) == 1


def test_without_a_home_no_key_is_taken_from_where_anybody_may_write() -> None:
    found = Settings.load({"HOME": "not absolute"})
    assert found.config_dir == Path("/etc/inductory")
    assert found.cache_dir.name == "cache"


@pytest.mark.parametrize("text", ["infGiB", "nanGiB", "1e400TiB"])
def test_bytes_without_end_are_refused(text: str) -> None:
    with pytest.raises(BadSettings, match="CACHE_BYTES_MAX"):
        Settings.load({**HOME, "INDUCTORY_CACHE_BYTES_MAX": text})


def test_vllms_levels_are_chosen_by_name() -> None:
    assert Settings.load({}).vllm == ("model", "submodule", "modelinfo", "triton")
    assert Settings.load({"INDUCTORY_VLLM": "off"}).vllm == ()
    with pytest.raises(BadSettings, match="write off, or some of model,submodule,modelinfo,triton"):
        Settings.load({"INDUCTORY_VLLM": "models"})
