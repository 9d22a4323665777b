"""``python -m support.keyborn_311 …``: the command as it is towards a broker that knows MQTT 3.1.1 alone."""

from keyborn.cli.main import main
from keyborn.device import connecting
from keyborn.device.session import MQTT_3_1_1

if __name__ == "__main__":
    connecting.VERSIONS = (MQTT_3_1_1,)  # type: ignore[assignment] # one of the two
    main()
