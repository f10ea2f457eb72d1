"""What a plan refuses of a workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.backend.planned_work import refuse_ways_round
from claude_bottle.errors import Refused
from claude_bottle.model.plan import Mount


@pytest.mark.parametrize("shown", ["live", ".", "live/sub", "link", "link/sub"])
def test_case_5_a_mount_is_no_second_way_to_what_is_guarded_in_a_live_workspace(tmp_path: Path, shown: str) -> None:
    (tmp_path / "live/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("live")
    (tmp_path / "beside").mkdir()
    source = str(tmp_path / "live")
    refuse_ways_round([Mount(str(tmp_path / shown), "/data", "ro"), Mount(str(tmp_path / "beside"), "/more", "rw")], source)
    with pytest.raises(Refused, match="beside the live workspace"):
        refuse_ways_round([Mount(str(tmp_path / shown), "/data", "rw")], source)
