from __future__ import annotations

import pytest

from claude_bottle.cli import load
from claude_bottle.cli.parsing import Parser
from claude_bottle.errors import UsageError


def parser() -> Parser:
    made = Parser("try", "What it does.\n\nAnd more.", tail="[-- ARGS]", examples="claude-bottle try x")
    made.add_argument("name", metavar="NAME", help="whom")
    made.add_argument("more", nargs="*", metavar="FILE", help="which")
    made.add_argument("-q", "--quiet", action="store_true", help="say less")
    made.add_argument("--format", choices=("text", "json"), help="how")
    made.add_argument("--an-option-with-a-long-name", metavar="VALUE", help="word " * 30)
    return made


def test_help_reads_the_same_on_every_python() -> None:
    assert (
        parser().format_help()
        == """\
usage: claude-bottle try NAME [FILE...] [options] [-- ARGS]

What it does.

And more.

  NAME                  whom
  FILE                  which

options
  -h, --help            show this help message and exit
  -q, --quiet           say less
  --format text|json    how
  --an-option-with-a-long-name VALUE
                        word word word word word word word word word word word
                        word word word word word word word word word word word
                        word word word word word word word word

example
  claude-bottle try x
"""
    )


@pytest.mark.parametrize("words", [[], ["x", "--quie"], ["x", "--format", "xml"], ["x", "--no-such"]])
def test_a_wrong_option_is_an_error_to_read(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as raised:
        parser().parse_args(words)
    assert raised.value.what
    assert raised.value.do == "claude-bottle try --help"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("seconds", ["abc", "-1", "nan", "1e9"])
def test_a_time_that_is_none_is_told_in_words(seconds: str) -> None:
    with pytest.raises(UsageError, match="is no number of seconds from 0 to 3600"):
        load("stop")[1].parse_args(["docs-7ahq2c", f"--timeout={seconds}"])
