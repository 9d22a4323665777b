"""What a test measured, on its way to the run's summary (the ``figure`` fixture)."""

from collections.abc import Callable

Figure = Callable[[str], None]
