"""How a git remote is reached by ssh: what is written, what is refused, and what a rule makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bottle.model.git_grant import GitGrant
from claude_bottle.model.policy import Rule
from claude_bottle.model.ssh_remote import SshRemote


@pytest.mark.parametrize(
    "one",
    [
        SshRemote(), SshRemote("deploy", 2222), SshRemote(key="~/.ssh/shop"), SshRemote(key="/keys/a", directory="/srv/git/"),
        SshRemote(directory="/"),
    ],
)  # fmt: skip
def test_what_is_written_down_is_read_back(one: SshRemote) -> None:
    assert SshRemote.from_dict(one.to_dict()) == one


@pytest.mark.parametrize(
    "words",
    [
        {"user": "-oProxyCommand=x"}, {"user": ""}, {"user": "a b"}, {"port": 0}, {"port": True}, {"port": 70000},
        {"key": "key"}, {"key": "~root/key"}, {"key": "/a/../b"}, {"key": "/"}, {"key": "/a b"}, {"key": "/a/"},
        {"directory": "srv/"}, {"directory": "/srv"}, {"directory": "/../"}, {"directory": "/-a/"}, {"directory": "/a'b/"},
        {"host": "x"}, {"key": 5},
    ],
)  # fmt: skip
def test_what_could_mean_more_than_it_says_is_refused(words: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        SshRemote.from_dict(words)


def test_a_rule_reached_by_ssh_says_so_takes_no_credential_and_covers_no_other_way() -> None:
    by_ssh = GitGrant(("acme/shop",), push=("refs/heads/x",), ssh=SshRemote())
    assert by_ssh.describe().endswith("in acme/shop, over ssh as git (port 22), with the keys of your ssh")
    assert GitGrant.from_dict(by_ssh.to_dict()) == by_ssh
    by_https = GitGrant(("acme/shop",), push=("refs/heads/x",))
    assert not by_ssh.covers(by_https) and not by_https.covers(by_ssh)
    assert by_ssh.meet(by_https) is None
    with pytest.raises(ValueError, match="takes no credential"):
        Rule("git.example.com", credential="github", git=by_ssh)


def test_commits_are_signed_where_either_rule_wants_it() -> None:
    signed, plain = (GitGrant(("acme/shop",), push=("refs/heads/x",), sign=sign) for sign in (True, False))
    assert "signed with your key" in signed.describe()
    assert not plain.covers(signed) and not signed.covers(plain)
    assert signed.meet(plain) == signed
    with pytest.raises(ValueError, match="name the refs"):
        GitGrant(("acme/shop",), sign=True)
