"""The shapes of what memoryd keeps and says, as data: `redis/*.yaml`, `mongo/*.json`, `protocol/*.json`.

`redis_apply.apply_redis` and `mongo_apply.apply_mongo` bring a store to these shapes. They are imported from their
own modules, so that a client which only needs the protocol loads neither redisvl nor PyMongo.
"""
