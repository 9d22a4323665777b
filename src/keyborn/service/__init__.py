"""Use cases over domain and ports: enroll, tokens, fleet."""
