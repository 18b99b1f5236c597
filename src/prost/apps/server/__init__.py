"""The HTTP API of one library; `prost serve` starts it."""
