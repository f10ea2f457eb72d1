"""What protects a bubblewrap bottle, in words for the plan.

Every line names a layer that is set up for each launch or the launch fails; "weaker" says what is missing
beside the ideal and why. Looks at our own groups at most; the layers themselves are built in `launcher`,
`enter`, `rootfs` and `seccomp_policy`.
"""

from __future__ import annotations

import os

from claude_bottle.backend import layers
from claude_bottle.model.plan import Protection


def protections(*, root: bool, groups: tuple[str, ...] = ()) -> tuple[Protection, ...]:
    """The protections of a bottle started by root, or by an ordinary user with these supplementary groups, which
    setgroups(2) keeps: it is closed in their user namespaces, or a group that takes rights away could be shaken off."""
    own = layers.own_user(root=root, groups=groups)
    return (*layers.EVERYWHERE, own, Protection("own kernel", "off", "bubblewrap shares the host's kernel"))


def supplementary_groups() -> tuple[str, ...]:
    """The names (or numbers) of our own groups beside the effective one."""
    import grp

    names = []
    for number in sorted(set(os.getgroups()) - {os.getegid()}):
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            names.append(str(number))
    return tuple(names)

