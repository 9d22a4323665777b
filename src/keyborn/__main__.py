"""``python -m keyborn`` is the ``keyborn`` command."""

from keyborn.cli.main import main

main()
