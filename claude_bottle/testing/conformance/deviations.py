"""Which checks a backend does not pass, and why that is so. Shown in docs/backends.md; a test demands that each is true."""

from __future__ import annotations

# The same backend with its gate in a container beside the bottle's, as where the engine runs on another machine.
APART = "docker, gate in a container"

_SELF = "its programs are this host's, as this user and under this host's name"
_PATHS = "home and workspace have the names they have on this host"
_ALONE = "it has no network of its own, so no listeners to hand over"
_NO_FIRST = "there is no first process of its own, so orphans are the host's"

_NO_WAY_OUT = "the listener of a new port goes to the gate there, where it works as soon, and none comes to this host"

# What is no sandbox cannot keep.
_NO_SANDBOX = {
    "a_gate_that_refuses_stops_the_launch": _ALONE,
    "it_starts_in_the_workspace_or_where_it_is_told": _PATHS,
    "exec_runs_on_the_callers_own_descriptors": _PATHS,
    "a_dead_keepers_home_is_recovered": _PATHS,
    "orphans_are_collected": _NO_FIRST,
    "the_user_has_the_same_name_and_number_everywhere": _SELF,
    "for_root_the_user_is_the_usual_number_inside": _SELF,
    "the_host_is_called_bottle": _SELF,
}
# The checks that need a sandbox are not asked of these at all.
UNPROTECTED = frozenset({"fake"})

# backend → check → why not.
DEVIATIONS: dict[str, dict[str, str]] = {
    "bubblewrap": {},
    "docker": {},
    APART: {"a_port_can_be_opened_later": _NO_WAY_OUT},
    "podman": {},
    "fake": _NO_SANDBOX,
}
