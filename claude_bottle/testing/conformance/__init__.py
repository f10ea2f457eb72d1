"""The backend contract as plain checks: what every backend must do, run against a real one.

Each check is a function of a `Place`, named by what it proves; it raises AssertionError when the backend does not keep the
contract. `checks()` lists them, `DEVIATIONS` says which of them a backend does not keep, and why. Anything can drive them;
our own tests run every check on every backend, and demand that a deviation really is one. Checks that leave a bottle fit for
the next may share one (`standing`).
"""

from claude_bottle.testing.conformance.deviations import DEVIATIONS
from claude_bottle.testing.conformance.place import Place
from claude_bottle.testing.conformance.registry import Check, NeedsSandbox, checks

__all__ = ["DEVIATIONS", "Check", "NeedsSandbox", "Place", "checks"]
