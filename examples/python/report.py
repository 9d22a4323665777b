"""Report readings, without asyncio: each is on disk before the next one is taken.

python report.py TOPIC READING...        (the home: $KEYBORN_HOME, or where `keyborn` looks for it)
"""

import sys

import keyborn


def main(topic: str, *readings: str) -> int:
    """Publish the readings, and say what became of each; 1 where the broker will never take one."""
    with keyborn.SyncDevice.open() as device:
        receipts = [device.publish(topic, reading, lifetime=3600) for reading in readings]
        fates = [device.outcome(receipt, wait=10) for receipt in receipts]
    for reading, fate in zip(readings, fates, strict=True):
        print(f"{reading}: {fate.outcome}" + (f" ({fate.reason})" if fate.reason else ""))
    return int(any(fate.outcome is keyborn.Outcome.QUARANTINED for fate in fates))


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except keyborn.KeybornError as wrong:
        sys.exit(f"{wrong} [{wrong.code}]")
