"""The tools a bottle begins with: what a manifest's `capabilities` say, judged by what builds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.manifest.typed import UNSET
from claude_bottle.model.capability import KINDS, MAX_LAYERS, Capability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_bottle.manifest.loading import Loaded
    from claude_bottle.manifest.problems import Report
    from claude_bottle.manifest.shape import CapabilityDoc
    from claude_bottle.state.positions import Path


def capabilities(
    docs: Sequence[CapabilityDoc], path: Path, loaded: Loaded, report: Report
) -> tuple[Capability, ...]:  # fmt: skip
    """In their order. What makes none is a problem at its place, and counts as not said."""
    made: list[Capability] = []
    if len(docs) > MAX_LAYERS:
        report.problem(path, f"more than {MAX_LAYERS} layers", "put packages of a kind into one")
        return ()
    for index, doc in enumerate(docs):
        place = (*path, index)
        if loaded.damaged(place):
            continue
        said = {key: value for key in KINDS if (value := getattr(doc, key)) is not UNSET}
        if doc.network is not UNSET:
            said["network"] = doc.network
        try:
            capability = Capability.from_dict(said)
        except BottleError as refused:
            report.problem(place, refused.why, 'for example {"apt": ["ripgrep"]}')
            continue
        if capability in made:
            report.problem(place, "this capability stands there twice", "remove one of the two")
        else:
            made.append(capability)
    return tuple(made)
