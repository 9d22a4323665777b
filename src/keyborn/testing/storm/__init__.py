"""A fleet that powers on at once: real admission, the real client's back-off, a virtual clock and account.

What is real: ``service.quota.QuotaGate`` (one for each instance of the function) and ``device.pace.Pace``.
What is a model: the HTTP API's throttle, the function's instances, the quotas of AWS IoT, the write limit of
one DynamoDB item, latencies. One seed is one run::

    report = simulate(Storm(devices=1000))
    assert report.slowdown <= 1.05
"""

from keyborn.testing.storm.model import Account, Storm
from keyborn.testing.storm.report import Report
from keyborn.testing.storm.run import simulate

__all__ = ["Account", "Report", "Storm", "simulate"]
