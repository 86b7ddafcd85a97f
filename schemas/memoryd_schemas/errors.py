"""What can be wrong between these schemas and a store."""

from __future__ import annotations


class SchemaError(Exception):
    """The store cannot be used with these schemas; nothing was changed."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class VectorMismatch(SchemaError):
    """The stored vectors come from another model, or have another form, than the configured ones."""
