"""``keyborn agent``: one process per home that has its session, and works for the other programs there.

Two threads: one runs the journey and has the session (``run``, ``line``), so that no program waits while it
waits for the network; the other one has the local socket (``desk``). ``bridge`` is all that they share. What
is said on the socket is in ``protocol``; ``client`` is the other end of it.
"""
