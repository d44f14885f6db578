"""`raak claim` makes what profile believes, and nothing that it would not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli import app
from infra.instance import EmbeddedInstance
from infra.processes import PROCESSES
from infra.tokens import EmptyClaim, issue_claim
from services.profile.domain.identities import Identity, InvalidIdentity
from services.profile.service.signed_claims import ClaimVerifier

SECRET = "s" * 32
NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_the_command_signs_with_the_secret_profile_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_PROFILE_CLAIM_SECRETS", f"{SECRET},{'o' * 32}")
    command = ["claim", "--anonymous-id", "a", "--user-id", "42", "--email", "ann@example.com"]

    printed = CliRunner().invoke(app, command).stdout.strip()

    claim = ClaimVerifier((SECRET,), HOUR).verify(printed, datetime.now(UTC))
    assert claim.browser == Identity("anonymous_id", "a")
    assert {one.type for one in claim.identities} == {"user_id", "email"}


def test_an_instance_has_a_secret_of_its_own_that_its_profile_alone_is_given(
    tmp_path: Path,
) -> None:
    instance = EmbeddedInstance(tmp_path, 8000)

    environment = {name: instance.environment(name, {}) for name in PROCESSES}

    secret = environment["profile"]["RAAK_PROFILE_CLAIM_SECRETS"]
    assert len(secret) >= 32
    assert secret == instance.secret("claim-secret") != instance.secret("key-secret")
    assert [name for name in PROCESSES if secret in environment[name].values()] == ["profile"]


@pytest.mark.parametrize(("secret", "user"), [(SECRET, ""), ("", "42")])
def test_a_claim_of_nobody_or_without_a_secret_is_refused(secret: str, user: str) -> None:
    with pytest.raises(EmptyClaim):
        issue_claim(secret, "a", {"user_id": user}, NOW, 15)


@pytest.mark.parametrize(("browser", "email"), [("", "ann@example.com"), ("a", "no address")])
def test_an_identity_that_names_nobody_is_refused(browser: str, email: str) -> None:
    with pytest.raises(InvalidIdentity):
        issue_claim(SECRET, browser, {"email": email}, NOW, 15)
