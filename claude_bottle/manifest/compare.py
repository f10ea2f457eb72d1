"""Which of two grants is wider, and what both of them grant: pure comparisons of rules and bottles.

`widening` is what resume asks before it uses a changed manifest, `narrow` is how a project's bottle meets the
home bottle of the same name. Both err to one side only: `widening` may name something that was granted in
another way, and `narrow` may leave out something both grant, never the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from claude_bottle.manifest.bottle import Bottle, least
from claude_bottle.manifest.image import budget_widening, money_widening
from claude_bottle.manifest.words import (
    describe_capability,
    describe_image,
    describe_mount,
    describe_rule,
    describe_source,
    describe_workspace,
)
from claude_bottle.model.hosts import covers_host
from claude_bottle.model.plan import Mount
from claude_bottle.model.policy import Rule
from claude_bottle.model.urlpath import compile_pattern, covers_path
from claude_bottle.values import replace


def widening(old_rules: Iterable[Rule], new_rules: Iterable[Rule]) -> list[str]:
    """What `new_rules` grant and `old_rules` did not, in words, one phrase each; empty when nothing."""
    old, new = tuple(old_rules), tuple(new_rules)
    unbound = [
        f"{host}:{port} is no longer bound to the credential {credential}: others would get through"
        for host, port, credential in _unbound(old, new)
    ]
    unjudged = [f"{host}:{port} is no longer judged as git: its other rules could let pushes through"
                for host, port in _unjudged(old, new)]  # fmt: skip
    return list(dict.fromkeys(_beyond(old, new, bound_by=new) + unbound + unjudged))


def mounts_widening(old: Sequence[Mount], new: Sequence[Mount]) -> list[str]:
    """Mounts of `new` that `old` has not, or has read-only only, in words."""
    return [describe_mount(mount) for mount in new if not _mounted(old, mount)]


def bottle_widening(old: Bottle, new: Bottle) -> list[str]:
    """What the bottle `new` grants and `old` did not: rules, credentials, mounts and the workspace, in
    words."""
    more = budget_widening(old.egress_bytes, new.egress_bytes) + money_widening(old.usd, new.usd)
    return widening(old.rules, new.rules) + _beyond_rules(old, new) + more


def narrow(home: Bottle, project: Bottle) -> tuple[Bottle, list[str]]:
    """The bottle that grants what both grant, and (in words) what the project asked for beyond that.

    Places, methods, paths, mounts and the workspace meet; credentials and where they come from are the home's
    alone, and so is a variable both set or a credential fills. The stricter TLS mode wins.
    """
    rules, loose = common_rules(home.rules, project.rules)
    bound = {rule.credential for rule in rules}
    filled = {spec.env for specs in home.credentials.values() for spec in specs}
    mounts = tuple(
        replace(mount, mode="ro" if "ro" in (mount.mode, other.mode) else "rw")
        for mount in home.mounts
        for other in project.mounts
        if (mount.source, mount.target) == (other.source, other.target)
    )
    made = Bottle(
        name=home.name,
        backend=project.backend if home.backend == "auto" else home.backend,
        workspace=(mode := _common_workspace(home.workspace, project.workspace)),
        rules=rules,
        credentials={name: specs for name, specs in home.credentials.items() if name in bound},
        env={**{name: value for name, value in project.env.items() if name not in filled}, **home.env},
        mounts=mounts,
        proxy_env=home.proxy_env or project.proxy_env,
        origin="both",
        image=home.image,
        limits=home.limits.stricter(project.limits),
        capabilities=home.capabilities,
        egress_bytes=least(home.egress_bytes, project.egress_bytes),
        include=_common_include(home, project) if mode == "clone" else (),
        checkpoints=max(home.checkpoints, project.checkpoints),
        usd=least(home.usd, project.usd),
    )
    left_out = _beyond(home.rules, project.rules, bound_by=(*home.rules, *project.rules))
    left_out += [f"{describe_rule(rule)} without what confines {rule.host} otherwise" for rule in loose]
    more = budget_widening(home.egress_bytes, project.egress_bytes) if project.egress_bytes is not None else []
    more += money_widening(home.usd, project.usd) if project.usd is not None else []
    return made, left_out + _beyond_rules(home, project) + more


def common_rules(home: Sequence[Rule], project: Sequence[Rule]) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """Rules that allow only what both sets allow, with the home's credentials; and rules left out because their
    place would come out unbound from the credential the home binds it to, so that any other would get through, or
    without the rule for git that judges its pushes."""
    made: list[Rule] = []
    requests: set[tuple[object, ...]] = set()
    # Two home rules may meet a narrow one of the project in the very same requests: the more specific one of them
    # decides which credential is used, as it does in `model.policy`.
    for mine in sorted(home, key=_specificity, reverse=True):
        for other in project:
            if _same_place(mine, other) or _same_place(other, mine):
                both = _meet(mine, other)
                same = both and (both.host, both.port, frozenset(both.methods), frozenset(both.paths), both.git)
                if both is not None and same not in requests:
                    requests.add(same or ())
                    made.append(both)
    loose = {(host, port) for host, port, _ in _unbound(home, made)} | set(_unjudged((*home, *project), made))
    left_out = tuple(rule for rule in made if any(rule.port == port and covers_host(rule.host, host) for host, port in loose))
    return tuple(rule for rule in made if rule not in left_out), left_out


def _beyond(old: Sequence[Rule], new: Sequence[Rule], *, bound_by: Sequence[Rule]) -> list[str]:
    """The parts of `new` that no rule of `old` covers, in words. `bound_by` are the rules that will bind."""
    missing = (_not_covered(old, bound_by, rule) for rule in new)
    return list(dict.fromkeys(describe_rule(rule) for rule in missing if rule is not None))


def _beyond_rules(old: Bottle, new: Bottle) -> list[str]:
    """The same for everything but rules."""
    found = [
        describe_source(spec)
        for name, specs in new.credentials.items()
        for spec in specs
        if new.places(name) and spec not in old.credentials.get(name, ())
    ]
    found += mounts_widening(old.mounts, new.mounts)
    if _common_workspace(old.workspace, new.workspace) != new.workspace or (
        new.workspace == "clone" and _common_include(old, new) != new.include
    ):
        found.append(describe_workspace(new.workspace, new.include))
    if new.image is not None and new.image != old.image:
        found.append(describe_image(new.image))
    found += [describe_capability(one) for one in new.capabilities if one not in old.capabilities]
    return found


# Each allows what those before it allow: a clone reads what is committed, a copy all but what is ignored, an overlay all, a
# bind writes it too.
_BY_REACH = ("none", "clone", "copy", "overlay", "bind")


def _common_workspace(one: str, other: str) -> str:
    """What two modes both allow; none of a mode that is not known."""
    known = [mode for mode in (one, other) if mode in _BY_REACH]
    return min(known, key=_BY_REACH.index) if len(known) == 2 else "none"


def _common_include(one: Bottle, other: Bottle) -> tuple[str, ...]:
    """What a clone may take beyond what is committed, where one of two bottles is a clone."""
    both = [set(bottle.include) for bottle in (one, other) if bottle.workspace == "clone"]
    return tuple(sorted(set.intersection(*both))) if both else ()


def _not_covered(old: Sequence[Rule], new: Sequence[Rule], rule: Rule) -> Rule | None:
    """The part of `rule` that no old rule covers, as a rule; None when all is covered."""
    if rule.git is not None:
        return None if _git_covered(old, new, rule) else rule
    here = [
        other for other in old
        if other.git is None and _same_place(other, rule) and _covers_kind(other, rule, new)
    ]  # fmt: skip
    pairs = [
        (method, path)
        for method in rule.methods or (None,)
        for path in rule.paths or (None,)
        if not any(_allows_method(other, method) and _allows_path(other, path) for other in here)
    ]
    if not pairs:
        return None
    methods = tuple(dict.fromkeys(method for method, _ in pairs if method is not None))
    paths = tuple(dict.fromkeys(path for _, path in pairs if path is not None))
    return replace(rule, methods=methods, paths=paths)


def _git_covered(old: Sequence[Rule], new: Sequence[Rule], rule: Rule) -> bool:
    """Whether one old rule for git covers all of this one. Ordinary rules cover none: what they let through is not judged
    as git, but a host that had none was without pushes that are."""
    return rule.git is not None and any(
        other.git is not None and other.git.covers(rule.git) and _covers_kind(other, rule, new)
        for other in old if (other.host, other.port) == (rule.host, rule.port)
    )  # fmt: skip


def _covers_kind(old: Rule, rule: Rule, new: Sequence[Rule]) -> bool:
    """TLS mode, WebSocket, bodies and credential: a tunnel covers what is inspected, and a rule without its credential is
    covered as long as its place stays bound to it."""
    if (rule.tls == "tunnel" and old.tls != "tunnel") or (rule.websocket and not old.websocket):
        return False
    if old.max_body is not None and least(old.max_body, rule.max_body) != rule.max_body:
        return False
    if rule.credential == old.credential:
        return True
    return rule.credential is None and any(
        (other.host, other.port, other.credential) == (rule.host, rule.port, old.credential) for other in new
    )


def _unbound(old: Iterable[Rule], new: Sequence[Rule]) -> list[tuple[str, int, str]]:
    """Places bound to a credential in `old` and granted without any in `new`."""
    bound = {(rule.host, rule.port) for rule in new if rule.credential}
    return sorted(
        {
            (rule.host, rule.port, rule.credential)
            for rule in old
            if rule.credential and (rule.host, rule.port) not in bound and any(_same_place(other, rule) for other in new)
        }
    )


def _unjudged(old: Iterable[Rule], new: Sequence[Rule]) -> list[tuple[str, int]]:
    """Places with rules for git in `old` and only others in `new`, which do not know a push when they see one."""
    judged = {(rule.host, rule.port) for rule in new if rule.git}
    granted = {(rule.host, rule.port) for rule in old if rule.git and any(_same_place(other, rule) for other in new)}
    return sorted(granted - judged)


def _same_place(one: Rule, other: Rule) -> bool:
    """Whether `one` is for every place that `other` is for."""
    return one.port == other.port and covers_host(one.host, other.host)


def _specificity(rule: Rule) -> tuple[bool, int, bool]:
    return (
        rule.credential is not None,
        max((compile_pattern(path).literal for path in rule.paths), default=0),
        bool(rule.methods),
    )


def _allows_method(rule: Rule, method: str | None) -> bool:
    """HEAD counts as GET, as in `model.policy`."""
    return not rule.methods or method in rule.methods or (method == "HEAD" and "GET" in rule.methods)


def _allows_path(rule: Rule, path: str | None) -> bool:
    if not rule.paths:
        return True
    return path is not None and any(covers_path(pattern, path) for pattern in rule.paths)


def _meet(mine: Rule, other: Rule) -> Rule | None:
    """What two rules for one place both allow, as one rule with the first one's credential; None for
    nothing."""
    if mine.git is not None or other.git is not None:
        both = mine.git.meet(other.git) if mine.git and other.git else None
        return replace(mine, git=both) if both else None
    methods = tuple(
        dict.fromkeys(
            [m for m in other.methods if _allows_method(mine, m)] + [m for m in mine.methods if _allows_method(other, m)]
        )
    )
    paths = tuple(
        dict.fromkeys([p for p in other.paths if _allows_path(mine, p)] + [p for p in mine.paths if _allows_path(other, p)])
    )
    if mine.credential is not None and "/**" not in paths:
        # Patterns of stars alone, which no rule with a credential may have (`model.policy`): left out.
        paths = tuple(path for path in paths if not compile_pattern(path).everything)
    if ((mine.methods or other.methods) and not methods) or ((mine.paths or other.paths) and not paths):
        return None
    if not mine.paths and "/**" in paths:
        paths = ()  # the same, and allowed together with a credential
    tls = "tunnel" if mine.tls == other.tls == "tunnel" else "inspect"
    return replace(mine, host=other.host if mine.wide else mine.host, methods=methods, paths=paths, tls=tls,
                   websocket=mine.websocket and other.websocket, max_body=least(mine.max_body, other.max_body))  # fmt: skip


def _mounted(mounts: Iterable[Mount], wanted: Mount) -> bool:
    return any(
        (mount.source, mount.target) == (wanted.source, wanted.target) and mount.mode in ("rw", wanted.mode)
        for mount in mounts
    )
