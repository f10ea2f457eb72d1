"""The manifest: `Manifest.resolve(cwd)`, its JSON Schema, and the text `init` begins with.

Importing this package does not load jsonschema, which comes only when something is wrong with a file.
"""

from __future__ import annotations

from claude_bottle.manifest.bottle import Agent, Bottle
from claude_bottle.manifest.consent import Consent
from claude_bottle.manifest.resolve import Manifest
from claude_bottle.manifest.schema import schema
from claude_bottle.manifest.starter import starter

__all__ = ["Agent", "Bottle", "Consent", "Manifest", "schema", "starter"]
