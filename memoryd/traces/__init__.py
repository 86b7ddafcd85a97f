"""Finished spans that memoryd keeps itself, in Redis and in MongoDB: written (`keep`), found (`find`) and drawn (`tree`)."""
