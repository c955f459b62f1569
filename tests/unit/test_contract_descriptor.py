"""Names of files that come from another machine stay below the folder they are written to."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.descriptor import check_relative_path
from inductory_client.contract.errors import Malformed


@pytest.mark.parametrize("name", ["a", "rank_0_0/backbone/x.py", "a..b/.hidden", "with space/é"])
def test_plain_paths(name: str) -> None:
    assert check_relative_path(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/", "/etc/passwd", "..", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "..\\a", "a\0b", "."],
)
def test_paths_that_might_lead_elsewhere(name: str) -> None:
    with pytest.raises(Malformed, match="relative path"):
        check_relative_path(name)


@given(st.lists(st.sampled_from(["a", "..", ".", "", "/", "\\", "b.py", "\0"]), max_size=6).map("/".join))
def test_what_passes_is_below_the_folder(name: str) -> None:
    try:
        checked = check_relative_path(name)
    except Malformed:
        return
    path = PurePosixPath("folder", checked)
    assert ".." not in path.parts
    assert path.is_relative_to("folder")
    assert str(path) == f"folder/{name}"
