"""`python -m services.measurement`."""

from services.chassis.server import serve
from services.measurement.app import create
from services.measurement.settings import MeasurementSettings

if __name__ == "__main__":
    serve(create, MeasurementSettings())
