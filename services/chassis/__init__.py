"""What every process stands on, and not one business word: settings, database, outbox, bus,

errors, GraphQL, definitions, telemetry and server.
"""
