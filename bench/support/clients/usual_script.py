"""A device as people write it for AWS: openssl for key and request, requests, AWSIoTPythonSDK.

Nothing here knows Keyborn. From nothing to the first acknowledged message, in an empty folder.
Usage: usual_script.py p256|rsa2048 URL BEARER_FILE ROOT_CA THING MQTT_HOST MQTT_PORT
"""

import subprocess
import sys
from pathlib import Path

import requests
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient

KEY, CSR, CERTIFICATE = "private.pem", "request.csr", "certificate.pem"
MAKING = {
    "p256": ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", KEY],
    "rsa2048": ["openssl", "genrsa", "-out", KEY, "2048"],
}


def get_certificate(kind: str, url: str, bearer: str, root: str, thing: str) -> None:
    subprocess.run(MAKING[kind], check=True, capture_output=True)
    subprocess.run(["openssl", "req", "-new", "-key", KEY, "-out", CSR, "-subj", f"/CN={thing}"], check=True)
    name, _, value = Path(bearer).read_text().strip().partition(": ")
    body = {"thingName": thing, "csr": Path(CSR).read_text()}
    answer = requests.post(f"{url}/getCertificate", json=body, headers={name: value}, verify=root, timeout=30)
    answer.raise_for_status()
    Path(CERTIFICATE).write_bytes(answer.content)


def publish(root: str, thing: str, host: str, port: int) -> bool:
    client = AWSIoTMQTTClient(thing)
    client.configureEndpoint(host, port)
    client.configureCredentials(root, KEY, CERTIFICATE)
    client.configureConnectDisconnectTimeout(10)
    client.configureMQTTOperationTimeout(5)
    client.connect()
    acknowledged: bool = client.publish(f"certtest/{thing}", f"Hello from {thing}", 1)
    client.disconnect()
    return acknowledged


if __name__ == "__main__":
    kind, url, bearer, root, thing, host, port = sys.argv[1:]
    get_certificate(kind, url, bearer, root, thing)
    sys.exit(0 if publish(root, thing, host, int(port)) else 1)
