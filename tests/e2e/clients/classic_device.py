"""A device of the well-known pattern, as people wrote it for AWS: openssl, one JSON POST, AWSIoTPythonSDK.

Nothing here knows Keyborn. Against the original two things change: the URL, and the Authorization header.
Usage: classic_device.py URL TOKEN ROOT_CA THING MQTT_HOST MQTT_PORT
"""

import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient

SUBJECT = "/C=JP/ST=Tokyo/L=Meguro/O=Example Corp/CN=AWS IoT Certificate"
KEY, CSR, CERTIFICATE = "private.pem", "request.csr", "certificate.pem"


def make_key_and_request() -> None:
    if not Path(KEY).exists():
        subprocess.run(["openssl", "genrsa", "-out", KEY, "2048"], check=True, capture_output=True)
    subprocess.run(["openssl", "req", "-new", "-key", KEY, "-out", CSR, "-subj", SUBJECT], check=True)


def get_certificate(url: str, token: str, root_ca: str, thing: str) -> None:
    body = json.dumps({"thingName": thing, "csr": Path(CSR).read_text()}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}/getCertificate", body, headers)
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=root_ca)) as response:
        Path(CERTIFICATE).write_bytes(response.read())


def publish(root_ca: str, thing: str, host: str, port: int) -> bool:
    client = AWSIoTMQTTClient(thing)
    client.configureEndpoint(host, port)
    client.configureCredentials(root_ca, KEY, CERTIFICATE)
    client.configureOfflinePublishQueueing(-1)
    client.configureDrainingFrequency(2)
    client.configureConnectDisconnectTimeout(10)
    client.configureMQTTOperationTimeout(5)
    client.connect()
    acknowledged: bool = client.publish(f"certtest/{thing}", f"Hello from {thing}", 1)
    client.disconnect()
    return acknowledged


def main() -> int:
    url, token, root_ca, thing, host, port = sys.argv[1:]
    make_key_and_request()
    try:
        get_certificate(url, token, root_ca, thing)
    except urllib.error.HTTPError as refused:
        sys.stderr.write(refused.read().decode())
        return 1
    return 0 if publish(root_ca, thing, host, int(port)) else 2


if __name__ == "__main__":
    sys.exit(main())
