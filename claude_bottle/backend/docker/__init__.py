"""Bottles as containers of a docker (or podman) engine."""
