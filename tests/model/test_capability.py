"""What is a capability and what is none: the one judge of requests, manifests, records and builds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.errors import Refused
from claude_bottle.model.capability import (
    DOCKERFILE,
    KINDS,
    MAX_FRAGMENT,
    MAX_ITEM,
    MAX_ITEMS,
    PACKAGES,
    Capability,
)

GOOD: list[dict[str, Any]] = [
    {"apt": ["ripgrep"]}, {"apt": ["g++", "libc6-dev=2.36-9+deb12u10", "x11-utils=1:7.7+5~b1"]},
    {"pip": ["ruff==0.9.1", "requests[socks]>=2.0", "ruamel.yaml"]},
    {"npm": ["prettier", "@types/node@22.1.0", "left-pad@^1.0.0"]},
    {"cargo": ["fd-find@10.2.0"]},
    {"go": ["golang.org/x/tools/cmd/goimports@v0.30.0", "github.com/BurntSushi/toml/cmd/tomlv"]},
    {"dockerfile": "RUN make it\n"}, {"dockerfile": "ENV A=b\nRUN curl x", "network": True},
]  # fmt: skip
BAD_ITEMS = {
    "apt": ["-y", "--option", "Ripgrep", "a b", "x;y", "./x.deb", "/x", "x=", "x=1=2", "x/stable", "x\n", "x$(y)", "",
            "x=-1", "é"],
    "pip": ["-r x", "--index-url=x", "git+https://x/y", "https://x/y.whl", "./x", "../x", "/x", "x @ https://y", "x;python",
            "x==", "x[y", "x==1 --hash", "-e.", "x\ny"],
    "npm": ["-g", "user/repo", "git+ssh://x", "https://x", "./x", "file:x", "x@npm:y", "@a/b/c", "x@latest || x", "X",
            "x@../y"],
    "cargo": ["--git", "x --git y", "https://x", "./x", "1x", "x@", "x@*"],
    "go": ["-x", "./...", "/x/y", "x", "example.com", "example.com/x@../y", "https://example.com/x", "example.com//x",
           "example.com/x/...", "example.com/../x", "example.com/x@v1 -y", "-toolexec=x"],
}  # fmt: skip


@pytest.mark.parametrize("said", GOOD, ids=json.dumps)
def test_what_is_sound_says_the_same_again(said: dict[str, Any]) -> None:
    made = Capability.from_dict(said)
    assert made.to_dict() == said
    assert Capability.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize(("kind", "item"), [(kind, item) for kind, items in BAD_ITEMS.items() for item in items])
def test_an_item_is_a_package_and_nothing_else(kind: str, item: str) -> None:
    with pytest.raises(Refused):
        Capability(kind, (item,))


@pytest.mark.parametrize(
    "said",
    [None, [], "apt", {}, {"apt": []}, {"apt": "ripgrep"}, {"apt": [1]}, {"apt": ["a"], "pip": ["b"]},
     {"apt": ["aa"], "x": 1},
     {"apt": ["aa", "aa"]}, {"apt": ["aa"], "network": True}, {"dockerfile": ["RUN x"]}, {"dockerfile": ""}, {"brew": ["x"]},
     {"dockerfile": "RUN x", "network": 1}, {"dockerfile": "FROM x"}, {"network": True},
     {"apt": [f"p{n}" for n in range(MAX_ITEMS + 1)]}, {"apt": ["a" * (MAX_ITEM + 1)]},
     {"dockerfile": "RUN " + "a" * MAX_FRAGMENT}],
    ids=lambda said: json.dumps(said)[:40],
)  # fmt: skip
def test_what_is_unsound_is_refused_with_a_reason(said: object) -> None:
    with pytest.raises(Refused) as refused:
        Capability.from_dict(said)
    assert refused.value.why
    assert refused.value.exit_code == 3


@given(st.sampled_from(PACKAGES), st.text(max_size=40))
def test_no_text_turns_into_an_option_a_path_or_an_address(kind: str, item: str) -> None:
    try:
        made = Capability(kind, (item,))
    except Refused:
        return
    (word,) = made.items
    assert not word.startswith(("-", ".", "/", "~"))
    assert "://" not in word and ".." not in word.split("/")
    assert word.isascii() and word.isprintable() and " " not in word


@given(st.sampled_from(KINDS), st.text(max_size=200), st.booleans())
def test_whatever_it_is_its_description_is_one_plain_line(kind: str, text: str, network: bool) -> None:
    try:
        made = Capability(kind, (), text, network) if kind == DOCKERFILE else Capability(kind, (text,))
    except Refused as refused:
        assert "\x1b" not in refused.why
        return
    assert made.describe().isprintable()
    assert len(made.describe()) < 300


def test_equal_ones_have_one_digest_and_every_difference_another() -> None:
    made = [Capability.from_dict(said) for said in GOOD]
    made += [Capability("dockerfile", (), "RUN make it\n", True), Capability("pip", ("ripgrep",))]
    made += [Capability("apt", ("aa", "bb")), Capability("apt", ("bb", "aa"))]
    assert len({one.digest for one in made}) == len(made)
    assert Capability("apt", ("aa", "bb")).digest == Capability.from_dict({"apt": ["aa", "bb"]}).digest
