#!/bin/sh
""":"
# claude-bottle from a fresh checkout. The first run makes .venv beside this file (with progress); every later
# run costs two milliseconds of sh before it becomes .venv's Python. sh reads this file up to its `exec`, Python
# takes that part for a string: so `python3 cli.py` works too, with any Python, and only sh looks for a new one.
self=$0
if [ -L "$self" ]; then self=$(readlink -f -- "$self"); fi
case $self in */*) here=${self%/*} ;; *) here=. ;; esac
here=$(CDPATH= cd -- "${here:-/}" && pwd -P) || exit 4
extra=
. "$here/scripts/ready.sh"
# -I: no module of the directory we stand in, which an agent may have written, and no PYTHON* setting counts.
# The file instead of `-m claude_bottle`: 2 ms less. -S: see there.
exec "$here/.venv/bin/python" -I -S "$here/claude_bottle/__main__.py" "$@"
"""

import os
import sys

os.execv("/bin/sh", ["sh", os.path.abspath(__file__), *sys.argv[1:]])
