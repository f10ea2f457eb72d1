"""The plan as a person reads it: 80 columns, the decision last.

Pure: takes `BottlePlan.to_dict()`, gives text. Every string in it may come from a repository's manifest, so each one
passes the sanitiser, and a value too long for its column is wrapped, never cut: what cannot be seen cannot be agreed to.
"""

from __future__ import annotations

import textwrap
from typing import Any

from claude_bottle.model.capability import PACKAGES
from claude_bottle.model.git_grant import GitGrant, size_text
from claude_bottle.model.plan import UNLIMITED
from claude_bottle.redact import printable

WIDTH = 80
LABEL = 8


def render(plan: dict[str, Any]) -> str:
    """The whole screen, without a trailing newline. Source of the layout: screens.md, 'The plan'."""
    blocks = [_head(plan), _reach(plan), _beforehand(plan), _inside(plan), _notes(plan)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _row(label: str, text: str) -> list[str]:
    indent = " " * LABEL
    lines = textwrap.wrap(printable(text), WIDTH - LABEL, break_long_words=True, break_on_hyphens=False) or [""]
    return [f"{label:<{LABEL}}{lines[0]}", *(indent + line for line in lines[1:])]


def _head(plan: dict[str, Any]) -> list[str]:
    harness = plan["harness"]
    program = f"{harness['name']} {harness['version']}".strip()
    work = plan["workspace"]
    place = {
        "bind": f"{work['source']} → {work['target']}, read-write: changes land in it at once",
        "copy": f"a private copy of {work['source']}, {work['target']}",
        "overlay": f"a private layer over {work['source']}, {work['target']}: all of it is seen, nothing of it changes",
        "clone": f"a clone of the git repository {work['source']}, {work['target']}: what is committed"
        + "".join(f", what is {part}" for part in work.get("include") or ()),
    }.get(work["mode"], f"a private empty directory, {work['target']}")
    return [
        *_row("bottle", f"{plan['slug']}   plan {plan['digest'][:8]}   backend {plan['backend']} ({plan['image']})"),
        *_row("agent", f"{plan['agent']} · {program}"),
        *_row("runs", " ".join(plan["command"])),
        *_row("work", place),
        *(_row("skills", _skills(plan["skills"])) if plan.get("skills") else []),
        *(_row("from", f"{plan['fork_of']}: its files and conversation") if plan.get("fork_of") else []),
        *_made([step for step in plan.get("image_build") or [] if step["kind"] != "layer"]),
        *_layers(plan.get("layers") or []),
    ]


def _skills(skills: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['name']} ({one['sha256'][:8]})" for one in skills)


def _layers(layers: list[dict[str, Any]]) -> list[str]:
    """Every capability whole, however long: what cannot be seen cannot be agreed to."""
    lines: list[str] = []
    for layer in layers:
        reach = ", ".join(layer["reaches"]) or "nothing"
        said = _capability(layer).split("\n")
        lines += _row("" if lines else "layers", said[0])
        for more in said[1:]:
            lines += _row("", f"  {more}")
        lines += _row("", f"  (its build reaches {reach})")
    return lines


def _capability(layer: dict[str, Any]) -> str:
    if "dockerfile" in layer:
        return f"dockerfile\n{layer['dockerfile'].strip()}"
    return " ".join(f"{kind} {' '.join(layer[kind])}" for kind in PACKAGES if kind in layer)


def _made(steps: list[dict[str, Any]]) -> list[str]:
    """What the image is made from, and which of its steps reach further than what is shown."""
    if not steps:
        return []
    reaching = [step["kind"] for step in steps if step["network"] != "none"]
    reach = f"; building {', '.join(reaching)} reaches the engine's network" if reaching else ""
    return _row("image", f"from {steps[0]['from'] or 'your Dockerfile'}: {', '.join(s['kind'] for s in steps)}{reach}")


def _reach(plan: dict[str, Any]) -> list[str]:
    if not plan["egress"]:
        return ["can reach nothing: no network device, no DNS, no host service."]
    lines = [f"{'can reach':<42}with"]
    for rule in plan["egress"]:
        where = rule["host"] + ("" if rule["port"] == 443 else f":{rule['port']}")
        marks = [word for word in ("wide", "opaque") if rule[word]]
        lines += _pair(f"  {where}", ", ".join([_with(plan, rule), *marks]))
        methods = " ".join(rule["methods"]) or "any method"
        what = "anything, unread" if rule["opaque"] else f"{methods} {' '.join(rule['paths']) or 'any path'}"
        if rule.get("max_body") is not None:
            what += f", bodies up to {size_text(rule['max_body'])}"
        if rule.get("websocket"):
            what += ", and as a WebSocket, unread"
        if rule.get("git"):
            what = _git(rule["git"])
        lines += textwrap.wrap(printable(what), WIDTH, initial_indent="    ", subsequent_indent="    ",
                               break_on_hyphens=False)  # fmt: skip
    lines.append("cannot reach anything else: no network device, no DNS, no host service.")
    return lines


def _git(section: dict[str, Any]) -> str:
    try:
        return GitGrant.from_dict(section).describe()
    except ValueError:
        return "git"


def _beforehand(plan: dict[str, Any]) -> list[str]:
    """What it is granted without anybody being asked, as soon as it asks."""
    if not plan.get("approvals"):
        return []
    lines = ["gets without a question, once it asks (your file of approvals)"]
    for one in plan["approvals"]:
        lines += textwrap.wrap(printable(f"{_granted(one)}, {one['scope']}"), WIDTH, initial_indent="  ",
                               subsequent_indent="    ", break_on_hyphens=False)  # fmt: skip
    return lines


def _granted(one: dict[str, Any]) -> str:
    rules = one.get("rules", [one["rule"]] if "rule" in one else [])
    if not rules:
        said = one.get("capability") or {"bytes of egress": one.get("egress_bytes")}
        return ", ".join(f"{kind} {' '.join(value) if isinstance(value, list) else value}" for kind, value in said.items())
    rule = rules[0]
    what = "anything, unread" if rule["tls"] == "tunnel" else " ".join(rule["methods"]) or "any method"
    paths = "" if rule["tls"] == "tunnel" else f" {' '.join(rule['paths']) or 'any path'}"
    return f"{rule['host']}:{rule['port']} {what}{paths}" + (f" with {rule['credential']}" if rule["credential"] else "")


def _with(plan: dict[str, Any], rule: dict[str, Any]) -> str:
    name = rule["credential"]
    if not name:
        return "–"
    source = next((c for c in plan["credentials"] if c["name"] == name), None)
    return f"{name} ← {_source(source)}" if source else str(name)


def _source(credential: dict[str, Any]) -> str:
    detail = credential["from"]
    if credential["source"] == "env":
        return f"${detail}"
    return " ".join(detail) if isinstance(detail, (list, tuple)) else str(detail)


def _pair(left: str, right: str) -> list[str]:
    left, right = printable(left), printable(right)
    return [f"{left:<42}{right}"] if len(left) < 42 and len(right) <= WIDTH - 42 else [left, f"{'':<6}{right}"]


def _inside(plan: dict[str, Any]) -> list[str]:
    names = [f"{name} (placeholder)" if "placeholder" in kind else name for name, kind in plan["env"].items()]
    system = "the image, read-only" if plan.get("image_build") else "/usr and a few files of /etc read-only"
    sees = [system, "private home and /tmp", "no host secret"]
    sees += [f"{m['source']} → {m['target']} ({m['mode']})" for m in plan["mounts"]]
    lines = _row("sees", " · ".join(sees))
    if names:
        lines += _row("env", ", ".join(names))
    if plan["limits"]:
        lines += _row("limits", _limits(plan["limits"]))
    if plan["budget"]:
        lines += _row("budget", " · ".join(_budget(plan["budget"])))
    if plan.get("checkpoints"):
        lines += _row("keeps", f"a checkpoint of each turn's end, the newest {plan['checkpoints']['keep']}")
    return lines


def _budget(budget: dict[str, Any]) -> list[str]:
    said = [f"sends at most {_size(budget['egress_bytes'])} in all"] if "egress_bytes" in budget else []
    return [*said, f"spends at most ${budget['usd']:.2f} at the model's API in all"] if "usd" in budget else said


def _size(count: int) -> str:
    """Bytes in the largest unit that says them exactly."""
    unit = max((n for n in range(5) if count % (1 << 10 * n) == 0), default=0) if count else 0
    return f"{count >> 10 * unit} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def _limits(limits: list[dict[str, Any]]) -> str:
    """What bounds the bottle, then in few words what does not."""
    said = [f"{m['name']} {m['value']}" + _enforcement(m)
            for m in limits if m["enforced"] or m["value"] != UNLIMITED]  # fmt: skip
    free = [m["name"] for m in limits if not m["enforced"] and m["value"] == UNLIMITED]
    return " · ".join([*said, *([f"none on {', '.join(free)}"] if free else [])])


def _enforcement(limit: dict[str, Any]) -> str:
    if not limit["enforced"]:
        return " (not enforced)"
    return " (each program)" if limit["by"].endswith("for each program") else ""


def _notes(plan: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for protection in plan["protections"]:
        if protection["state"] != "on":
            lines += _row(protection["state"], f"{protection['name']}: {protection['why']}")
    for warning in plan["warnings"]:
        lines += _row("note", warning)
    return lines
