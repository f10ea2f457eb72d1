"""What a resumed bottle has been granted before, for its next launch: rules, credentials, and what is no longer possible.

The keeper gets it with its order; nothing is written here. A grant whose credential has no value any more ends, and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.keeper.inbox_file import Carried, carry, exists
from claude_bottle.manifest.offered import chosen, offered
from claude_bottle.model.changes import CredentialChange
from claude_bottle.model.plan import PlannedCredential
from claude_bottle.redact import printable
from claude_bottle.supervise.composition import compose, granted_bytes, granted_money
from claude_bottle.supervise.summary import summary
from claude_bottle.values import replace
from claude_bottle.workflow import secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_bottle.harness.base import Harness
    from claude_bottle.manifest.bottle import Alternatives
    from claude_bottle.model.credentials import BoundCredential, CredentialSpec
    from claude_bottle.model.plan import BottlePlan
    from claude_bottle.model.policy import Rule
    from claude_bottle.model.requests import Grant
    from claude_bottle.state.config import Settings
    from claude_bottle.state.paths import Paths


class Load(NamedTuple):
    """`carried` None: nothing. `rules` and `bound`: the plan's and those of the grants. `more_bytes`, `more_money`: what
    grants add to the plan's budget."""

    carried: Carried | None
    rules: tuple[Rule, ...]
    bound: tuple[BoundCredential, ...]
    more_bytes: int = 0
    more_money: int = 0


def load(
    paths: Paths, plan: BottlePlan, harness: Harness, settings: Settings, own: Mapping[str, Alternatives]
) -> Load:
    """For the launch of `plan`. `own`: the credentials of its bottle's manifest. BottleError for what the plan itself
    needs, and for a damaged file."""
    if plan.resume_of is None or not exists(paths, plan.slug):
        return Load(None, plan.egress, secrets.bind(plan.credentials, harness))
    carried = carry(paths, plan.slug, plan.egress)
    planned = {one.spec.name: one for one in plan.credentials}
    bound = {one.spec.name: one for one in secrets.bind(plan.credentials, harness)}
    ended: dict[str, str] = {}
    for grant in carried.inbox.in_force:
        change = grant.change
        if not isinstance(change, CredentialChange) or change.name in bound:
            continue
        try:
            spec = replace(_offered(grant.credential or change.name, settings, own), name=change.name)
            bound |= {one.spec.name: one for one in secrets.bind([PlannedCredential(spec, ())], harness)}
        except BottleError as problem:
            ended[grant.id] = f"{problem.what}: {problem.why}"
    notes = tuple(f"{grant} is over: {printable(why)}" for grant, why in ended.items())
    carried = replace(carried, inbox=carried.inbox.end_grants(ended), notes=(*carried.notes, *notes))
    rules = compose(plan.egress, carried.inbox.in_force)
    places = {name: tuple(sorted({(rule.host, rule.port) for rule in rules if rule.credential == name})) for name in bound}
    kept = [replace(one, hosts=places[name]) for name, one in bound.items() if places[name] or name in planned]
    given = carried.inbox.in_force
    return Load(carried, rules, tuple(kept), granted_bytes(given), granted_money(given))


def described(paths: Paths, plan: BottlePlan) -> tuple[str, ...]:
    """What of it a person should know before they confirm the plan: one line each."""
    if plan.resume_of is None or not exists(paths, plan.slug):
        return ()
    carried = carry(paths, plan.slug, plan.egress)
    still = [f"still granted ({one.id}): {summary(one.change.to_dict())}, {_ends(one)}; claude-bottle revoke takes it back"
             for one in carried.inbox.in_force]  # fmt: skip
    return (*carried.notes, *still)


def _ends(grant: Grant) -> str:
    return f"until {grant.expires}" if grant.expires else "for this agent"


def _offered(wanted: str, settings: Settings, own: Mapping[str, Alternatives]) -> CredentialSpec:
    specs = own.get(wanted) or offered(settings.credentials).get(wanted)
    if not specs:
        raise BottleError(f"no credential {wanted} is offered any more")
    return chosen(specs)
