"""Alembic's way into the gateway's database."""

from gateway.tables import metadata
from services.chassis import migrations

migrations.run(metadata)
