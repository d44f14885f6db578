"""`raak token`: only what the gateway would take is made."""

from pathlib import Path

import pytest

from gateway.access.authentication.caller_tokens import InvalidTokenRequest
from infra.instance import make_keys
from infra.tokens import issue


def test_a_token_that_would_live_too_long_is_not_made(tmp_path: Path) -> None:
    signing = make_keys(tmp_path).tokens

    with pytest.raises(
        InvalidTokenRequest, match=r"25 hours: 24 are the most \(RAAK_GATEWAY_TOKEN_LON"
    ):
        issue(signing, "agent", "ann", hours=25)

    assert issue(signing, "agent", "ann", hours=24)
    assert issue(signing, "agent", "ann", hours=25, longest_s=90_000)
