"""The device side: key store, enrolment client, outbox, MQTT session. Imports no server room."""
