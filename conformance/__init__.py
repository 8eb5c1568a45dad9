"""What it means to be an engine, a stream layer, a session; the simulated world; real processes under test."""

from substrate.pure import install_if_asked

install_if_asked()
