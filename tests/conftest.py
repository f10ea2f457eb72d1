"""How long an example of a property test takes says how busy this machine is, and nothing of the product: no deadline, as
on a CI machine, where Hypothesis sets none of itself."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "busy", settings(), deadline=None, suppress_health_check=(*settings().suppress_health_check, HealthCheck.too_slow)
)
settings.load_profile("busy")
