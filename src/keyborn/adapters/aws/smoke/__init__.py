"""``keyborn aws smoke``: what Keyborn takes for granted about AWS, tried in a real account."""
