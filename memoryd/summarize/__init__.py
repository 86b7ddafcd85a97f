"""Making few words of many: one protocol, three ways to do it."""
