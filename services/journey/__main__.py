"""`python -m services.journey`."""

from services.chassis.server import serve
from services.journey.app import create
from services.journey.settings import JourneySettings

if __name__ == "__main__":
    serve(create, JourneySettings())
