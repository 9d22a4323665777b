"""What Lambda imports: the sweeper. Importing it needs the template's environment."""

import os

from keyborn.wiring.aws import sweep_handler

handler = sweep_handler(os.environ)
