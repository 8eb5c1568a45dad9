"""Thalweg measured beside other servers: ``python -m bench`` from the repository."""
