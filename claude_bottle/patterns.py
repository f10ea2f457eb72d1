"""Regular expressions that are compiled when they are first used: `re.compile`, without what it costs at start.

Compiling what the modules of a launch hold takes 4 ms, and a launch uses a fifth of it. For the type checker this is
`re.compile` itself; what is made has a pattern's methods and attributes, but is not an `re.Pattern`.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import compile as regex
else:

    class regex:  # noqa: N801  (used as the function it stands for)
        def __init__(self, text, flags=0):
            self._said = text, flags

        def __getattr__(self, name):
            found = getattr(re.compile(*self._said), name)
            setattr(self, name, found)  # the next time it is found without us
            return found


__all__ = ["regex"]
