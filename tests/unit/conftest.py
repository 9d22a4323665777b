"""What holds for unit tests: an example may take as long as a machine that others use makes it take."""

from hypothesis import settings

settings.register_profile("keyborn", deadline=None)
settings.load_profile("keyborn")
