"""``keyborn metrics``: what a running service counts, on its own machine."""

from pathlib import Path

import click

from keyborn.cli.console import ask, require_running
from keyborn.cli.desk import folder_option
from keyborn.cli.output import json_option


@click.command()
@folder_option("keyborn metrics")
@json_option
def metrics(*, data: Path, as_json: bool) -> None:
    """Print every figure of the running service: outcomes, latencies, queues, certificates, sessions.

    As a scraper reads them (Prometheus's text format), or as JSON. With `keyborn serve --metrics
    127.0.0.1:9464` a scraper on the same machine reads them over HTTP.

    Example: keyborn metrics | grep expiring
    """
    import json

    import msgspec

    from keyborn.http.exposition import exposition
    from keyborn.service.watching import Family

    require_running(data)
    rows = ask(data, "GET", "/v1/metrics")
    if as_json:
        click.echo(json.dumps(rows))
    else:
        click.echo(exposition(msgspec.convert(rows, list[Family])), nl=False)
