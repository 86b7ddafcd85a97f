"""The words of memoryd as data: scope, memory, ids. Nothing here knows a server."""
