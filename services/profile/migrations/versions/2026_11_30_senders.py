"""Remember by whose word everything is known: the class of sender, and who linked an identity.

What is there already counts as a server's word, except links, of which it is not known whose they
are: a browser's token reaches a known customer again once a server has named both together. The
primary keys of trait, consent and event are built anew, under a lock that keeps others out.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KEYS = {
    "trait": (["customer_id", "name", "identity_type", "identity_value"], "observed_at"),
    "consent": (["customer_id", "purpose", "identity_type", "identity_value"], "changed_at"),
    "event": (["customer_id", "message_id"], "received_at"),
}
"""Of each table the key of before, and what says which of two rows is the later one."""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table, (key, _) in KEYS.items():
        sender = sa.Column("sender", sa.Text, nullable=False, server_default="server")
        op.add_column(table, sender)
        op.alter_column(table, "sender", server_default=None)
        place = -1 if table == "event" else len(key)
        _set_key(table, [*key[:place], "sender", *key[place:]])
    for table in ("identity", "identity_change"):
        op.add_column(table, sa.Column("linked_by", sa.Text))
    op.create_table(
        "identity_claim",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("identity_type", sa.Text, primary_key=True),
        sa.Column("identity_value", sa.Text, primary_key=True),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("first_claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True)),
    )


def downgrade() -> None:
    """Of what several classes of sender have said the latest is kept."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("identity_claim")
    for table in ("identity", "identity_change"):
        op.drop_column(table, "linked_by")
    for table, (key, moment) in KEYS.items():
        same = " AND ".join(f"later.{column} = {table}.{column}" for column in key)
        op.execute(
            f"DELETE FROM {table} USING {table} AS later WHERE {same}"
            f" AND (later.{moment}, later.sender) > ({table}.{moment}, {table}.sender)"
        )
        _set_key(table, key)
        op.drop_column(table, "sender")


def _set_key(table: str, columns: list[str]) -> None:
    op.drop_constraint(f"{table}_pkey", table, type_="primary")
    op.create_primary_key(f"{table}_pkey", table, columns)
