"""`python -m services.profile`."""

from services.chassis.server import serve
from services.profile.app import create
from services.profile.settings import ProfileSettings

serve(create, ProfileSettings())
