"""What Lambda imports: the enrolment function. Importing it needs the template's environment."""

import os

from keyborn.wiring.aws import enroll_handler

handler = enroll_handler(os.environ)
