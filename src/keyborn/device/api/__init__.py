"""``import keyborn``: publishing and listening from a program, with asyncio (``Device``) or without.

A device's agent does the work, through its socket: the one that runs in the home, or where none does, one in
this process (``own``). So there is one way to talk (``conversation``, ``subscription``), and one session.
"""
