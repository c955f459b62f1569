"""Artifacts of another machine or software aren't used, and one line names the factor that keeps them off."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from client_samples import client, draft, wanted
from inductory_client.contract.errors import TargetMismatch
from inductory_client.contract.target import Target
from inductory_client.contract.wire import DIFFERENCES_MAX
from inductory_client.publication import Publication
from inductory_client.trouble import forget_warnings
from store_process import StoreProcess

GPU = {
    "cuda.capability": "9.0",
    "cuda.device": "NVIDIA H200",
    "cuda.multiprocessors": "132",
    "cuda.version": "13.0",
    "torch.version": "2.13.0+cu130",
    "triton.key": "5e1f",
}
OTHERS = {
    "cuda.capability": "8.0",
    "cuda.multiprocessors": "108",
    "cuda.version": "12.9",
    "triton.key": "0c2a",
}
# Names that stand before the others in the alphabet, and more than are told.
SETTINGS = {f"a.setting.{at}": "True" for at in range(2 * DIFFERENCES_MAX)}


@pytest.mark.parametrize("factor", OTHERS)
def test_a_miss_names_what_the_nearest_was_made_for(
    tmp_path: Path, factor: str, caplog: pytest.LogCaptureFixture
) -> None:
    forget_warnings()
    theirs = {**GPU, factor: OTHERS[factor], **SETTINGS}
    ours, told = Target(GPU), f"{factor}: {GPU[factor]} here, {OTHERS[factor]} there"
    made = draft(target=Target(theirs))
    with StoreProcess(tmp_path / "store") as store:
        places = {"url": store.url, "config_dir": tmp_path / "config", "store_deadline_s": 60.0}
        with client(tmp_path / "builder", **places) as builder:
            builder.publisher.publish_now(Publication(artifacts=(made,)))
            for _ in range(2):
                assert builder.fetch(wanted(draft(target=ours)), ours).pieces == {}
            lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
            assert [told in line for line in lines] == [True]
            assert "\n" not in lines[0]

            forget_warnings()
            refused = builder.fetch(wanted(made), ours).refused
    assert isinstance(refused[made.subject.key], TargetMismatch)
    assert told in caplog.text.splitlines()[-1]
