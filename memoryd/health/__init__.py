"""How a process of memoryd does: gauges of its stores, what it can do just now, and a small HTTP page for those who ask."""
