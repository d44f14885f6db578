"""`python -m services.profile`."""

from services.chassis.server import read_settings, serve
from services.profile.app import create
from services.profile.settings import ProfileSettings

serve(create, read_settings(ProfileSettings))
