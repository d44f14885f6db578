"""What the demo says at its end can be copied as it stands."""

import json
import shlex
from io import StringIO
from pathlib import Path

from graphql import parse, validate
from rich.console import Console

from gateway.schema_source import read_subgraphs
from gateway.supergraph import compose
from infra.cdnow import Buyer
from infra.demo import show_next_steps
from infra.demo.session import DemoSession

ROOT = Path(__file__).parents[3]


def test_the_commands_at_the_end_of_the_demo_are_whole() -> None:
    written = StringIO()
    session = DemoSession(
        "http://127.0.0.1:8000",
        "wk",
        "raak_x",
        lambda role, subject, customer: f"token-of-{role}",
        lambda browser, user: "",
        Console(file=written, width=40),
    )

    show_next_steps(session, Buyer("cdnow-00007", ()))

    text = written.getvalue()
    assert "TOKEN=token-of-agent\n" in text
    command = text[text.index("curl") :].replace("\\\n", "")
    words = shlex.split(command.split("\n")[0])
    question = json.loads(words[words.index("-d") + 1])["query"]
    assert 'value: "cdnow-00007@example.com"' in question
    schema = compose(read_subgraphs()).schema
    assert validate(schema, parse(question)) == []
    for line in text.splitlines():
        for word in line.split():
            if word.startswith("examples/"):
                assert (ROOT / word.rstrip(";:")).exists(), word
