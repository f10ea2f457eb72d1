"""The authorities a bottle trusts may still be in the making when its boot begins."""

from __future__ import annotations

import pytest

from tests.backend.keeping import keep
from tests.ordinary_user import Person

LATE = """
class Late:
    def __init__(self, made):
        self.encode = lambda: made  # what `launch_request` calls on its text
before = descriptors()
"""
PLACES = "/etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem /etc/pki/tls/certs/ca-bundle.crt"


def test_they_are_asked_for_late_and_are_there_under_every_name(person: Person) -> None:
    source = LATE + f"""
asked = []
def made():
    asked.append(1)
    return b"AUTHORITY" * 30000
with launch(ca_bundle=Late(made)) as bottle:
    show([asked, output(bottle, "sh", "-c", "wc -c {PLACES}; echo more >> /etc/ssl/cert.pem || echo refused")[1].split()])
"""
    asked, said = keep(person, source)
    assert asked == [1]
    assert said[::2][:3] == ["270000"] * 3
    assert said[-1] == "refused"


@pytest.mark.parametrize("empty", ["b''", "made"])
def test_without_any_the_files_are_empty_or_not_there(person: Person, empty: str) -> None:
    source = LATE + f"""
made = lambda: b""
with launch(ca_bundle=Late({empty})) as bottle:
    show(output(bottle, "sh", "-c", "cat {PLACES} 2>/dev/null | wc -c")[1].strip())
"""
    assert keep(person, source) == "0"


def test_when_they_cannot_be_made_nothing_of_the_bottle_is_left(person: Person) -> None:
    source = LATE + """
def broken():
    raise BottleError("the gate did not start")
try:
    with launch(ca_bundle=Late(broken)):
        show("up")
except BottleError as error:
    try:
        os.waitpid(-1, os.WNOHANG)
        children = True
    except ChildProcessError:
        children = False
    show([error.what, before == descriptors(), children])
"""
    assert keep(person, source) == ["the gate did not start", True, False]
