"""`python -m services.measurement`."""

from services.chassis.server import read_settings, serve
from services.measurement.app import create
from services.measurement.settings import MeasurementSettings

if __name__ == "__main__":
    serve(create, read_settings(MeasurementSettings))
