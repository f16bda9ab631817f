"""Configuration file that raises an exception."""

BROKEN = 1 / 0
