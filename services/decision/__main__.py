"""`python -m services.decision`."""

from services.chassis.server import read_settings, serve
from services.decision.app import create
from services.decision.settings import DecisionSettings

if __name__ == "__main__":
    serve(create, read_settings(DecisionSettings))
