"""One module for each command: ``add(parser)`` gives its arguments, ``run(options)`` does it and answers the exit status.

A module imports at its head what costs nothing; what a command needs beyond that, it imports when it runs.
"""
