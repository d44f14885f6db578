"""The processes of Raak, and the settings of each."""

from collections.abc import Mapping

from gateway.settings import GatewaySettings
from services.chassis.settings import ServiceSettings
from services.decision.settings import DecisionSettings
from services.journey.settings import JourneySettings
from services.measurement.settings import MeasurementSettings
from services.profile.settings import ProfileSettings

SERVICE_SETTINGS: Mapping[str, type[ServiceSettings]] = {
    settings.process: settings
    for settings in (ProfileSettings, DecisionSettings, JourneySettings, MeasurementSettings)
}
PROCESS_SETTINGS: Mapping[str, type[ServiceSettings]] = {
    **SERVICE_SETTINGS,
    GatewaySettings.process: GatewaySettings,
}
SERVICES = tuple(SERVICE_SETTINGS)
PROCESSES = tuple(PROCESS_SETTINGS)
