"""The layers that every backend with a sandbox sets up, in the words of a plan, so that plans of two backends compare.

A layer of EVERYWHERE is set up for each launch, or the launch fails; whatever differs, a backend adds in words of its own.
"""

from __future__ import annotations

from claude_bottle.model.plan import Protection

EVERYWHERE = tuple(
    Protection(name, "on")
    for name in (
        "no network but the gate",
        "private file system",
        "own process space",
        "no capabilities",
        "no new privileges",
        "no user namespaces",
        "system call filter",
        "no inherited descriptors",
        "ends with its keeper",
    )
)


def own_user(*, root: bool, groups: tuple[str, ...] = ()) -> Protection:
    """Whose id a bottle's programs have: root's bottles get one of their own, an ordinary user's that user's, and those
    of the user's supplementary `groups` that cannot be taken from them."""
    if root:
        return Protection("own user id", "on")
    why = "a bottle of an ordinary user runs under that user's id"
    kept = f" and keeps their groups, which only root could take away: {', '.join(groups)}" if groups else ""
    return Protection("own user id", "weaker", why + kept)
