"""How memoryd explains itself: what things are called (`names`), spans, metrics, logs. None of it holds memory text.

Importing it needs only `opentelemetry-api`; the SDK, the exporter and structlog load where they are used.
"""
