"""The manifest `init` writes: an agent with the model's API and the project directory, and a shell with
nothing.

JSON has no comments, so it is short enough to need none; docs/manifest.md explains every key.
"""

from __future__ import annotations


def starter() -> str:
    """The text of a new manifest."""
    return _STARTER


_STARTER = """\
{
  "version": 1,
  "bottles": {
    "claude": {
      "workspace": {"mode": "bind"},
      "egress": [
        {"preset": "anthropic"}
      ]
    },
    "offline": {}
  },
  "agents": {
    "claude": {"bottle": "claude", "harness": "claude"},
    "shell": {"bottle": "offline", "harness": "shell"}
  }
}
"""
