"""Saved queries for Redis Insight's Query Library: what people ask of a memory that they look at with their own eyes."""
