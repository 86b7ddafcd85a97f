"""Metrics that memoryd keeps itself: what each period has brought (`periods`), in Redis (`series`) and MongoDB (`documents`)."""
