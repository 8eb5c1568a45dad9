"""The matrix: real client x feature x version, each cell a small real program, on ours and on the real server.

``cells`` says what a cell is, ``columns`` lists the clients, ``column`` runs one client's cells in a process of its own,
``runs`` runs all of them against a target, ``table`` compares two runs and prints.
"""
