"""The ports made real: memory, embedded certificate authority, SQL registry, broker, clock and entropy."""
