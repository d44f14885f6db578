from services.chassis import migrations
from services.profile.tables import metadata

migrations.run(metadata)
