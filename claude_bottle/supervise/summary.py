"""What a request is for in a few words: `apt ripgrep`, `crates.io`. From plain data, which may come out of a state file, and
without loading anything: `ls` and the titles of terminals show it."""

from __future__ import annotations

from typing import Any

from claude_bottle.redact import printable

_WIDTH = 40


def summary(change: object) -> str:
    """At most 40 columns, printable, whatever `change` (`Change.to_dict`) holds."""
    try:
        words = _words(change)
    except (TypeError, LookupError, AttributeError, ValueError, StopIteration):
        words = "?"
    return printable(words, width=_WIDTH)


def _words(change: Any) -> str:
    match change["kind"]:
        case "egress":
            hosts = list(dict.fromkeys(_place(rule) for rule in change["rules"]))
            return hosts[0] + (f" (+{len(hosts) - 1})" if len(hosts) > 1 else "")
        case "credential":
            return f"credential {change['rule']['credential']}"
        case "capability":
            kind, value = next((key, value) for key, value in change["capability"].items() if key != "network")
            return f"{kind} {' '.join(value)}" if isinstance(value, list) else kind
        case "budget":
            return f"{size(change['egress_bytes'])} more egress"
        case "money":
            return f"${change['usd']:.2f} more"
        case "push":
            return f"push {change['repository']} {change['commands'][0]['ref'].rpartition('/')[2]}"
    return "?"


def _place(rule: Any) -> str:
    return str(rule["host"]) + ("" if rule["port"] == 443 else f":{rule['port']}")


def size(count: int) -> str:
    """Bytes in a unit that a person reads."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
