"""Alembic's way into this service."""

from services.chassis import migrations
from services.journey.tables import metadata

migrations.run(metadata)
