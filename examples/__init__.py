"""Programs that show Thalweg at work; each is run as ``python -m examples.<name>`` from the repository."""
