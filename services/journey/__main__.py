"""`python -m services.journey`."""

from services.chassis.server import read_settings, serve
from services.journey.app import create
from services.journey.settings import JourneySettings

if __name__ == "__main__":
    serve(create, read_settings(JourneySettings))
