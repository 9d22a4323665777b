"""The ports on AWS: the registry in DynamoDB, and what it shares with the rest (calls, errors)."""
