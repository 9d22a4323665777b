#!/bin/sh
# A device without Keyborn: openssl, curl and mosquitto_pub, from nothing to its first acknowledged message.
# Usage, in an empty folder: openssl_curl.sh p256|rsa2048 URL BEARER_FILE ROOT_CA THING MQTT_HOST MQTT_PORT
set -eu
kind=$1 url=$2 bearer=$3 root=$4 thing=$5 host=$6 port=$7
umask 077
case $kind in
p256) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out device.key 2> /dev/null ;;
rsa2048) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out device.key 2> /dev/null ;;
esac
openssl req -new -key device.key -subj "/CN=$thing" -out device.csr
printf '{"thingName":"%s","csr":"%s"}' "$thing" "$(awk '{ printf "%s\\n", $0 }' device.csr)" > request.json
curl --silent --show-error --fail-with-body --cacert "$root" --header "@$bearer" \
    --header 'Content-Type: application/json' --data @request.json --output device.crt "$url/getCertificate"
mosquitto_pub -h "$host" -p "$port" --cafile "$root" --cert device.crt --key device.key \
    -i "$thing" -q 1 -t "certtest/$thing" -m hello
