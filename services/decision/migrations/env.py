"""Alembic's way into this service."""

from services.chassis import migrations
from services.decision.tables import metadata

migrations.run(metadata)
