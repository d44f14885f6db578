"""`python -m gateway`."""

from gateway.app import create
from gateway.live.websocket_protocol import WebSocketProtocol
from gateway.settings import GatewaySettings
from services.chassis.server import read_settings, serve

if __name__ == "__main__":
    settings = read_settings(GatewaySettings)
    serve(
        create,
        settings,
        ws=WebSocketProtocol,
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,  # it costs 300 KB a connection
    )
