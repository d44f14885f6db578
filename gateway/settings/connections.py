"""Websockets and event streams."""

from pydantic import Field

from services.chassis.settings import ServiceSettings


class ConnectionSettings(ServiceSettings):
    """Websockets and event streams."""

    max_connections_per_caller: int = Field(
        default=100, ge=1, description="most websockets and event streams of one caller"
    )
    max_operations_per_connection: int = Field(
        default=50, ge=1, description="most operations under way over one websocket"
    )
    max_unread_bytes: int = Field(
        default=1024 * 1024,
        ge=1_024,
        description="most that waits for a client that reads too slowly, before it is dropped",
    )
    max_waiting_activities: int = Field(
        default=1_000, ge=1, description="most activities of a customer that wait for one watcher"
    )
    init_deadline_ms: int = Field(
        default=10_000,
        ge=10,
        le=300_000,
        description="how long a websocket has until its client has said who it is",
    )
