"""The setting `prices`: what models cost the operator, before the list that is built in.

Read with the rest of `config.json`; what is wrong with it goes to its problems. The names of the four parts are those that
price lists of other agents have (models.dev, OpenCode).
"""

from __future__ import annotations

from claude_bottle.model.prices import NAME, Price
from claude_bottle.state.config_problems import ConfigProblems, step

_EXAMPLE = '{"input": 3, "output": 15}'
_NEEDED, _MORE = ("input", "output"), ("cache_read", "cache_write")
# US dollars for a million tokens; more than this is a slip of a decimal point or of a unit.
_MOST = 100_000


def prices(value: object, problems: ConfigProblems) -> dict[str, Price]:
    """Those of `value` that are sound."""
    found: dict[str, Price] = {}
    if not isinstance(value, dict):
        problems.wrong("prices", f'an object: {{"claude-sonnet-4-5": {_EXAMPLE}}}', value)
        return found
    for name, entry in value.items():
        where = f"prices.{step(name)}"
        if not NAME.fullmatch(name.removesuffix("*")):
            problems.add(where, "not the name of a model, or how names begin with a * at its end")
        elif not isinstance(entry, dict):
            problems.wrong(where, f"an object: {_EXAMPLE}", entry)
        elif (price := _price(where, entry, problems)) is not None:
            found[name] = price
    return found


def _price(where: str, entry: dict[str, object], problems: ConfigProblems) -> Price | None:
    before, known = len(problems), (*_NEEDED, *_MORE)
    for key in entry:
        if key not in known:
            problems.add(f"{where}.{step(key)}", f"unknown key; known are {', '.join(known)}")
    found = {key: _dollars(f"{where}.{key}", entry.get(key), problems) for key in known if key in _NEEDED or key in entry}
    if len(problems) > before:
        return None
    return Price(found["input"], found["output"], found.get("cache_read"), found.get("cache_write"))


def _dollars(where: str, value: object, problems: ConfigProblems) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST:  # NaN is in no range
        return value
    problems.wrong(where, f"US dollars for a million tokens, a number from 0 to {_MOST}", value)
    return 0
