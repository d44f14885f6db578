"""Addresses of PostgreSQL: what libpq reads, and what our driver gets of it."""

from pathlib import Path

import pytest

from services.chassis.database_address import DatabaseAddress, InvalidDatabaseUrl

HERE = (("db.example", "5432"),)
ALL = (("a", "1"), ("::1", "2"), ("c", ""))
LONG = (("2001:db8::1", "6432"),)
SOCKET = (("/run/pg", ""),)


@pytest.mark.parametrize(
    ("url", "user", "password", "database", "hosts"),
    [
        ("postgresql://ann:x@db.example:5432/shop", "ann", "x", "shop", HERE),
        ("postgres://ann:x@db.example:5432/shop", "ann", "x", "shop", HERE),
        ("postgresql+asyncpg://ann:x@db.example:5432/shop", "ann", "x", "shop", HERE),
        ("postgresql://a%40b:p%2F%3Aq+%25@db.example:5432/s%20h", "a@b", "p/:q+%", "s h", HERE),
        ("postgresql://ann:x@[2001:db8::1]:6432/shop", "ann", "x", "shop", LONG),
        ("postgresql://ann@[::1]/shop", "ann", "", "shop", (("::1", ""),)),
        ("postgresql://ann:x@a:1,[::1]:2,c/shop", "ann", "x", "shop", ALL),
        ("postgresql://ann:x@/shop?host=/run/pg", "ann", "x", "shop", SOCKET),
        ("postgresql:///s?host=/run/pg&port=&user=ann&password=x+y", "ann", "x+y", "s", SOCKET),
        ("postgresql://%2Frun%2Fpg/shop", "", "", "shop", SOCKET),
        ("postgresql:///?dbname=shop&host=a,b&port=1,2", "", "", "shop", (("a", "1"), ("b", "2"))),
        ("postgresql://db.example:5432", "", "", "", HERE),
    ],
)  # fmt: skip
def test_what_libpq_reads_is_read_and_written_for_the_driver(
    url: str, user: str, password: str, database: str, hosts: tuple[tuple[str, str], ...]
) -> None:
    address = DatabaseAddress.parse(url)

    assert (address.user, address.password, address.database) == (user, password, database)
    assert address.hosts == hosts
    assert DatabaseAddress.parse(address.url) == address


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret:5432@db:port/shop",
        "postgresql://ann:s3/cret@db/shop",
        "postgresql://ann:s3#cret@db:99999/shop",
        "postgresql://ann:s3cret@[::1/shop",
        "postgresql://ann:s3cret@db/shop?sslmode",
        "mysql://ann:s3cret@db/shop",
        "host=db user=ann password=s3cret",
        "postgresql://ann:s3cret@db/shop?sslmode=strict",
        "postgresql://ann:s3cret@db/shop?channel_binding=require",
        "postgresql://ann:s3cret@db/shop?sslmode=verify-ca&sslrootcert=system",
        "postgresql://ann:s3cret@db/shop?sslmode=verify-ca&sslrootcert=/nowhere/ca.pem",
    ],
)
def test_what_cannot_be_used_is_refused_by_the_variable_without_the_secret(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrl, match="RAAK_OVEN_DATABASE_URL") as refusal:
        DatabaseAddress.parse(url, "RAAK_OVEN_DATABASE_URL")

    assert "s3" not in str(refusal.value)
    assert "cret" not in str(refusal.value)


def test_what_only_libpq_knows_does_not_reach_the_server() -> None:
    url = "postgresql://ann:x@db/shop?connect_timeout=3&channel_binding=prefer&options=-c%20a%3Db"

    address = DatabaseAddress.parse(url)

    assert address.url == "postgresql://ann:x@db/shop?options=-c%20a%3Db"


def test_sqlalchemys_word_for_tls_is_understood() -> None:
    address = DatabaseAddress.parse("postgresql+asyncpg://ann:x@db/shop?ssl=require")

    assert address.url == "postgresql://ann:x@db/shop?sslmode=require"


def test_the_authorities_of_the_machine_may_prove_who_the_server_is() -> None:
    url = "postgresql://ann:x@db/shop?sslmode=verify-full&sslrootcert=system"

    arguments = DatabaseAddress.parse(url).arguments

    assert arguments["dsn"] == "postgresql://ann:x@db/shop"
    assert arguments["ssl"].check_hostname


def test_an_address_has_no_password_in_its_text(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    url = f"postgresql://ann:s3cret@db/shop?password=s3cret&sslrootcert={tmp_path / 'ca.pem'}"

    assert "s3cret" not in repr(DatabaseAddress.parse(url))


def test_a_database_of_a_server_keeps_what_else_its_address_says() -> None:
    server = DatabaseAddress.parse("postgresql://ann:x@a,b?sslmode=require")

    assert server.with_database("raak_profile").url == (
        "postgresql://ann:x@a,b/raak_profile?sslmode=require"
    )
