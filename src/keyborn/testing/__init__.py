"""A simulated world, public for other people's tests: seeded faults, virtual clock, crashes between effects."""
