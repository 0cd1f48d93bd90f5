"""Containers: what holds members."""
