"""Access policies in AWS IoT's policy grammar: what a device may do on the broker, on either backend.

Reading order: ``document`` (values and names), ``parse`` (text to values; what is unknown is refused),
``variables``, ``certificate``, ``patterns`` and ``conditions`` (the words of the grammar), ``evaluate``
(default deny, explicit deny wins; bound once per connection, asked per packet), ``explain`` (why), ``lint``
(traps).

Source: AWS IoT Core Developer Guide, pages "AWS IoT Core policies", "AWS IoT Core policy actions", "AWS IoT
Core action resources", "AWS IoT Core policy variables" and "Using connectAttributes"; IAM User Guide,
"Policy evaluation logic" and "Condition operators".
"""
