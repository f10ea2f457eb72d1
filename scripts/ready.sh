# Sourced by ./cli.py and ./test: returns when .venv is ready, after setting it up if need be, or exits.
# In: $here, the clone's absolute path; $extra, empty or the extra of pyproject.toml that is wanted.
# Ready means: made at this very path, from these very bytes of pyproject.toml, to the end (bootstrap.py writes the
# marks last). cmp is the only program started when all is well.
{ IFS= read -r made_at < "$here/.venv/made-at"; } 2>/dev/null || made_at=
if [ "$made_at" != "$here" ] || [ ! -x "$here/.venv/bin/python" ] ||
    ! cmp -s "$here/pyproject.toml" "$here/.venv/ready${extra:+-$extra}"; then
    set_up_with=
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            set_up_with=$candidate
            break
        fi
    done
    if [ -z "$set_up_with" ]; then
        found=$(python3 --version 2>/dev/null) || found="no python3"
        echo "claude-bottle: Python 3.11 or newer is needed
  why   found on PATH: $found
  do    install it (Debian 12, Ubuntu 24.04: sudo apt install python3 python3-venv), then run this again" >&2
        exit 4
    fi
    "$set_up_with" -I "$here/scripts/bootstrap.py" "$extra" </dev/null || exit $?
fi
